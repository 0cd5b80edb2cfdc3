"""Names of topics, and what they must look like."""

import pytest

from streams.topics import creation_command
from streams.topology import Topology


def test_default_names_are_those_of_the_contract():
    names = Topology()
    assert names.topic == names.consumed == "clickstream"
    assert names.dead_letter == "clickstream-dead-letter"
    assert (names.counts, names.alerts, names.commands) == (
        "conversion-counts",
        "conversion-alerts",
        "conversion-commands",
    )
    assert names.shards_changelog == "conversion-monitor-shards-changelog"
    assert names.counts_changelog == "conversion-monitor-counts-changelog"


def test_two_groups_share_no_topic_but_source_and_dead_letters():
    groups = ["conversion-monitor", "conversion", "shop", "shop-conversion", "conversion-monitor-2"]
    written = [set(Topology("orders", group).written()) - {"orders-dead-letter"} for group in groups]
    assert len(set.union(*written)) == sum(map(len, written))


def test_without_keys_the_keyed_topic_is_consumed():
    names = Topology("clicks", "shop", keyed_by_visitor=False)
    assert names.consumed == "shop-keyed"
    assert "shop-keyed" in {s.name for s in names.specs(4)}
    assert "shop-keyed" not in {s.name for s in Topology("clicks", "shop").specs(4)}


def test_state_has_as_many_partitions_as_are_consumed():
    specs = {s.name: s for s in Topology().specs(12)}
    assert specs["conversion-monitor-shards-changelog"].partitions == 12
    assert specs["conversion-counts"].partitions == 1


@pytest.mark.parametrize("name", ["conversion-counts", "conversion-monitor-shards-changelog"])
def test_state_is_compacted(name):
    spec = next(s for s in Topology().specs(4) if s.name == name)
    assert spec.configs["cleanup.policy"] == "compact"
    assert spec.exact


def test_no_topic_is_kept_by_event_time():
    """A replay of an old file would else be deleted as it arrives."""
    assert all(s.configs["message.timestamp.type"] == "LogAppendTime" for s in Topology().specs(4))


def test_creation_command_says_all_that_we_would_do():
    spec = next(s for s in Topology().specs(4) if s.name == "clickstream-dead-letter")
    command = creation_command("kafka:9092", spec, 3)
    assert command.startswith(
        "kafka-topics.sh --bootstrap-server kafka:9092 --create --topic clickstream-dead-letter"
        " --partitions 1 --replication-factor 3 --config message.timestamp.type=LogAppendTime"
    )
