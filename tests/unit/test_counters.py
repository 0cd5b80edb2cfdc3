import numpy as np

from monitor.counters import REJECTION_REASONS, Histogram, PipelineCounters


def test_a_bound_belongs_to_its_own_bucket() -> None:
    seen = Histogram((1.0, 5.0))
    seen.observe(np.array([0.5, 1.0, 1.1, 5.0, 5.1]))
    assert seen.cumulative() == [2, 4, 5]
    assert seen.count == 5
    assert seen.sum == 0.5 + 1.0 + 1.1 + 5.0 + 5.1


def test_a_clock_ahead_of_ours_counts_as_no_delay() -> None:
    counters = PipelineCounters()
    counters.count_delays(np.array([-3.0, 0.2]))
    assert counters.delays.sum == 0.2
    assert counters.delays.count == 2


def test_an_empty_batch_changes_nothing() -> None:
    counters = PipelineCounters()
    counters.count_delays(np.array([]))
    assert counters.delays.count == 0


def test_all_reasons_exist_as_zero_and_counters_are_not_shared() -> None:
    one, other = PipelineCounters(), PipelineCounters()
    one.count_rejected("not_json", 3)
    assert one.rejected["not_json"] == 3
    assert other.rejected == dict.fromkeys(REJECTION_REASONS, 0)


def test_a_lost_partition_takes_its_gauges_along() -> None:
    counters = PipelineCounters(watermark={0: 1.0, 1: 2.0}, committed_offset={0: 5}, consumer_lag={1: 7})
    counters.forget_partitions([1])
    assert (counters.watermark, counters.committed_offset, counters.consumer_lag) == ({0: 1.0}, {0: 5}, {})


def test_checkpoint_is_timed_and_dated() -> None:
    counters = PipelineCounters()
    counters.checkpoint_done(0.2, at=100.0)
    assert counters.checkpoints.count == 1
    assert counters.last_checkpoint == 100.0
