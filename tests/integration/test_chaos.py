"""The short form of `python -m tests.chaos`: each kind of failure once, all numbers exact after each.

`CHAOS_SEED` plays another run; `make chaos` plays a new one each time.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.brokers import KafkaUnavailableError
from tests.chaos.plan import short_plan
from tests.chaos.run import Run
from tests.conftest import leave_out


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_is_exact_after_each_kind_of_failure(tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "1"))
    plan = short_plan(random.Random(seed))
    run = Run(tmp_path, seed)
    try:
        run.play(plan)
    except KafkaUnavailableError as error:
        leave_out(f"Apache Kafka: {error}")
    assert [done.mismatch for done in run.done if done.mismatch] == []
    assert len(run.done) == len(plan)
