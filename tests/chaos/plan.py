"""Which episodes a run has, in which order: drawn from its seed alone."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.episodes import WORKER_KINDS, Kind
from tests.chaos.outages import OUTAGE_KINDS

KINDS = (*WORKER_KINDS, *OUTAGE_KINDS)
#: Of kinds that no option counts: how many of each the long form has.
OTHERS = 2


@dataclass(frozen=True)
class Wanted:
    """How many episodes of each sort the long form has at least."""

    kills: int = 100
    rebalances: int = 20
    restarts: int = 10
    zombies: int = 20


def short_plan(rng: random.Random) -> list[Kind]:
    """Each kind once."""
    return rng.sample(KINDS, len(KINDS))


def long_plan(rng: random.Random, wanted: Wanted) -> list[Kind]:
    """As many of each sort as wanted, spread evenly over its kinds, and some of all others."""
    plan: list[Kind] = []
    for sort, number in (
        ("kill", wanted.kills),
        ("rebalance", wanted.rebalances),
        ("restart", wanted.restarts),
        ("zombie", wanted.zombies),
    ):
        plan += _spread([kind for kind in KINDS if kind.sort == sort], number)
    plan += [kind for kind in KINDS if kind.sort == "other"] * OTHERS
    rng.shuffle(plan)
    return plan


def _spread(kinds: Sequence[Kind], number: int) -> list[Kind]:
    return [kinds[i % len(kinds)] for i in range(number)]
