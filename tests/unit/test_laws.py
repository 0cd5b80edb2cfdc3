"""Laws of counting: in whatever order, cut anywhere, killed at any moment, the numbers are the oracle's.

`HYPOTHESIS_PROFILE=long` tries many more examples, other ones each time.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from tests import oracle, product
from tests.murmur2 import partition_of

#: All but the explanation of a failure, which takes minutes here.
PHASES = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]
settings.register_profile(
    "ci",
    max_examples=60,
    derandomize=True,
    deadline=None,
    phases=PHASES,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile(
    "long",
    max_examples=5_000,
    deadline=None,
    phases=PHASES,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

Event = dict[str, Any]

#: 2024-01-15 12:00 UTC: an edge of every pane.
NOON = 1_705_320_000_000

GOALS: dict[str, Any] = {
    "purchase": {
        "kind": "macro",
        "match": {"event": "purchase"},
        "revenue": "value",
        "default_currency": "EUR",
    },
    "lead": {
        "kind": "micro",
        "match": {"event": ["generate_lead", "sign_up"], "properties.form": ["a", "1"]},
    },
    "gift": {
        "kind": "macro",
        "match": {"event": "purchase", "device": "mobile"},
        "revenue": "properties.amount",
    },
}
WINDOWS = [
    ["1m"],
    ["1s"],
    ["2s", "7s"],
    ["59s", "1m"],
    ["299s", "5m"],  # the shorter one reaches further back: its panes are finer
    ["7s", "90s", "1m"],
    ["1m", "5m", "1h", "24h"],
]


@dataclass(frozen=True)
class Case:
    """A config and events in order of event time, with how much each is delayed on its way (ms)."""

    keys: Mapping[str, Any]
    events: tuple[Event, ...]

    @property
    def lateness(self) -> int:
        return oracle.duration(self.keys["allowed_lateness"])


# --- what may come ----------------------------------------------------------------------------------


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """Counting rules that the config check accepts, small enough that every edge is met often."""
    windows = draw(st.sampled_from(WINDOWS))
    longest = max(map(oracle.duration, windows))
    lateness = draw(st.sampled_from([ms for ms in (0, 1, 500, 2_000, 10_000) if ms < longest]))
    gap = draw(st.sampled_from([lateness + 2_001, 15_000, 60_000, 1_800_000]))
    dedupe = draw(st.sampled_from([max(1_000, lateness), 20_000, 600_000]))
    return {
        "windows": windows,
        "goals": GOALS,
        "dimensions": {
            "device": {"max_values": draw(st.sampled_from([1, 2, 50]))},
            "brand": {"max_values": draw(st.sampled_from([1, 50]))},
        },
        "allowed_lateness": f"{lateness}ms",
        "max_in_future": "2s",
        "session_gap": f"{gap}ms",
        "dedupe_window": f"{dedupe}ms",
    }


def steps(keys: Mapping[str, Any]) -> st.SearchStrategy[int]:
    """Milliseconds between two events: mostly little, else just at an edge of one of the rules."""
    edges = {oracle.duration(keys[name]) for name in ("allowed_lateness", "session_gap", "dedupe_window")}
    for window in map(oracle.duration, keys["windows"]):
        edges |= {window, oracle.pane_of(window), window - oracle.pane_of(window)}
    near = sorted({edge + d for edge in edges for d in (-1, 0, 1) if edge + d >= 0})
    return st.one_of(st.sampled_from([0, 0, 1, 400, 1_000, 3_000]), st.sampled_from(near))


def bodies(*, ids: bool, full: bool) -> st.SearchStrategy[Event]:
    """An event without its time. `full`: it carries every dimension. `ids`: it may repeat another."""

    def dimension(*values: Any) -> st.SearchStrategy[Any]:
        return st.sampled_from(values if full else (None, "", *values))

    optional: dict[str, st.SearchStrategy[Any]] = {
        "session_id": st.sampled_from([None, None, "s1", "s2"]),
        "device": dimension("mobile", "desktop", "other", "unknown", "\uffff", "\U0001f600"),
        "value": st.sampled_from([None, 0, 1, "0.10", 19.99, "1e-18", "999999999999999"]),
        "currency": st.sampled_from([None, None, "USD", "JPY"]),
    }
    if ids:
        optional["event_id"] = st.sampled_from([None, "e1", "e2", "e3"])
        optional["transaction_id"] = st.sampled_from([None, "t1", "t2"])
    return st.fixed_dictionaries(
        {
            "event": st.sampled_from(["page_view", "page_view", "purchase", "sign_up", "generate_lead"]),
            "visitor_id": st.sampled_from(["v1", "v2", "v3", "v4"]),
            **optional,
            "properties": st.fixed_dictionaries(
                {
                    "brand": dimension("acme", 1, 1.5, True),
                    "form": st.sampled_from([None, "a", "b", 1]),
                    "amount": st.sampled_from([None, 5, "0.5"]),
                }
            ),
        }
    )


@st.composite
def cases(draw: st.DrawFn, *, ids: bool = True, full: bool = False, most: int = 30) -> Case:
    keys = draw(configs())
    least = draw(st.sampled_from([0, 0, most // 3, most]))
    found = draw(st.lists(st.tuples(steps(keys), bodies(ids=ids, full=full)), min_size=least, max_size=most))
    t = NOON + draw(st.sampled_from([0, 1, -1, 999, 437_123]))
    events = []
    for step, body in found:
        t += step
        events.append(body | {"timestamp": t})
    return Case(keys, tuple(events))


def arrivals(case: Case, most_late: int) -> st.SearchStrategy[list[Event]]:
    """An order in which the events arrive, each at most `most_late` ms of event time behind.

    With at most the allowed lateness none is late: whatever is later by more than that arrives later.
    """
    delay = st.one_of(st.sampled_from([0, most_late]), st.integers(0, most_late))
    tie = st.integers(0, 3)
    keys = st.tuples(*(st.tuples(delay, tie) for _ in case.events))

    def in_order(delays: Sequence[tuple[int, int]]) -> list[Event]:
        places = sorted(
            range(len(case.events)), key=lambda i: (case.events[i]["timestamp"] + delays[i][0], delays[i][1])
        )
        return [case.events[i] for i in places]

    return keys.map(in_order)


def cuts(n: int) -> st.SearchStrategy[list[int]]:
    """Where a list of n is cut into batches: positions in rising order."""
    return st.sets(st.integers(0, n), max_size=6).map(sorted)


def batches(events: Sequence[Event], at: Sequence[int]) -> list[list[Event]]:
    edges = [0, *at, len(events)]
    return [list(events[a:b]) for a, b in pairwise(edges)]


# --- the laws -----------------------------------------------------------------------------------------


@given(st.data(), cases())
def test_whatever_comes_the_numbers_are_the_oracles(data: st.DataObject, case: Case) -> None:
    """Late and repeated events too; after every batch, and at times after the last event."""
    events = data.draw(arrivals(case, 2 * case.lateness), label="arrival")
    partition = product.Partition(case.keys)
    done = 0
    tally = [0, 0, 0]
    for batch in batches(events, data.draw(cuts(len(events)), label="cuts")):
        tally = [a + b for a, b in zip(tally, partition.apply(batch), strict=True)]
        done += len(batch)
        judged = oracle.admit(oracle.Config.of(case.keys), events[:done])
        # What is late and a repeat may be called either.
        assert (tally[0], sum(tally)) == (len(judged.counted), done)
        if judged.counted:
            latest = max(e.t for e in judged.counted)
            for at in (latest, latest + data.draw(steps(case.keys), label="later")):
                expected = oracle.table(oracle.rows(case.keys, [events[:done]], at))
                assert oracle.table(product.total(case.keys, [partition], at)) == expected


@given(st.data(), cases(ids=False, full=True))
def test_any_order_within_the_lateness_gives_the_same_numbers(data: st.DataObject, case: Case) -> None:
    """Events that carry their dimensions: every number of every row is the same."""
    tables = [
        oracle.table(product.rows(case.keys, [events], cuts=data.draw(cuts(len(events)))))
        for events in (case.events, data.draw(arrivals(case, case.lateness)))
    ]
    assert tables[0] == tables[1]


@given(st.data(), cases(ids=False))
def test_any_order_gives_the_same_visitors(data: st.DataObject, case: Case) -> None:
    """What is looked up when an event is counted follows the order of arrival; all else does not."""
    assume(not any(returns_at_the_edge(case, events) for events in by_visitor(case.events)))
    one, two = (
        oracle.table(product.rows(case.keys, [events], cuts=data.draw(cuts(len(events)))))
        for events in (case.events, data.draw(arrivals(case, case.lateness)))
    )
    for table in (one, two):
        for (_, dimension, _), numbers in table.items():
            if dimension != "all":
                for name in [name for name in numbers if name != "visitors" and "converters" not in name]:
                    del numbers[name]
    assert drop_empty(one) == drop_empty(two)


def by_visitor(events: Sequence[Event]) -> list[list[Event]]:
    visitors: dict[str, list[Event]] = {}
    for event in events:
        visitors.setdefault(event["visitor_id"], []).append(event)
    return list(visitors.values())


def returns_at_the_edge(case: Case, events: Sequence[Event]) -> bool:
    """Whether it depends on the order if this visitor is forgotten: the one exception to the law.

    He returns after more than the longest window, and an event within the lateness bridges the pause.
    """
    longest = max(map(oracle.duration, case.keys["windows"]))
    times = [e["timestamp"] for e in events]
    for returned in times:
        bridge = [t for t in times if returned - case.lateness <= t <= returned]
        before = [t for t in times if t < returned - case.lateness]
        if before and returned - max(before) > longest and min(bridge) - max(before) <= longest:
            return True
    return False


def drop_empty(table: dict[Any, dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    return {key: numbers for key, numbers in table.items() if numbers}


@given(st.data(), cases())
def test_any_split_into_batches_gives_the_same_numbers(data: st.DataObject, case: Case) -> None:
    events = data.draw(arrivals(case, 2 * case.lateness))
    one_by_one = oracle.table(product.rows(case.keys, [events], cuts=range(len(events))))
    at_once = oracle.table(product.rows(case.keys, [events]))
    in_some = oracle.table(product.rows(case.keys, [events], cuts=data.draw(cuts(len(events)))))
    assert at_once == one_by_one
    assert in_some == one_by_one


@given(st.data(), cases())
def test_any_crash_between_checkpoints_gives_the_same_numbers(data: st.DataObject, case: Case) -> None:
    """Batches, checkpoints and crashes in any order; after a crash the events since then come again."""
    events = data.draw(arrivals(case, 2 * case.lateness))
    worker = product.Worker(case.keys)
    position = 0
    for _ in range(data.draw(st.integers(0, 12))):
        action = data.draw(st.sampled_from(["batch", "batch", "checkpoint", "crash", "look"]))
        if action == "batch":
            size = data.draw(st.integers(0, len(events) - position))
            worker.apply(events[position : position + size])
            position += size
        elif action == "checkpoint":
            worker.checkpoint(position)
        elif action == "crash":
            position = worker.crash()
        else:
            compare(case, events[:position], worker.partition)
    worker.apply(events[position:])
    compare(case, events, worker.partition)
    worker.checkpoint(len(events))
    worker.crash()
    compare(case, events, worker.partition)


def compare(case: Case, events: Sequence[Event], partition: product.Partition) -> None:
    expected = oracle.table(oracle.rows(case.keys, [events]))
    assert oracle.table(product.total(case.keys, [partition])) == expected


@given(st.data(), cases())
def test_the_values_of_a_dimension_add_up_to_all_and_no_part_exceeds_its_whole(
    data: st.DataObject, case: Case
) -> None:
    rows = product.rows(case.keys, [data.draw(arrivals(case, 2 * case.lateness))])
    for window in case.keys["windows"]:
        whole = oracle.table(r for r in rows if r.window == window and r.dimension == "all")
        for dimension in case.keys["dimensions"]:
            parts: dict[str, Any] = {}
            for numbers in oracle.table(
                r for r in rows if r.window == window and r.dimension == dimension
            ).values():
                for name, number in numbers.items():
                    parts[name] = parts.get(name, 0) + number
            assert parts == whole.get((window, "all", "all"), {})
    for row in rows:
        no_part_exceeds_its_whole(row)


@given(st.data(), cases(ids=False))
def test_duplicates_change_nothing(data: st.DataObject, case: Case) -> None:
    """Copies of events, each anywhere after its original."""
    events = [
        event | {"event_id": f"e{i}"}
        for i, event in enumerate(data.draw(arrivals(case, 2 * case.lateness), label="arrival"))
    ]
    with_copies = list(events)
    for original in data.draw(st.lists(st.sampled_from(events), max_size=8) if events else st.just([])):
        first = with_copies.index(original)
        with_copies.insert(data.draw(st.integers(first + 1, len(with_copies))), dict(original))
    cut = data.draw(cuts(len(with_copies)))
    assert oracle.table(product.rows(case.keys, [with_copies], cuts=cut)) == oracle.table(
        product.rows(case.keys, [events])
    )


@given(st.data(), cases(ids=False), st.integers(1, 4))
def test_partitions_add_up(data: st.DataObject, case: Case, partitions: int) -> None:
    """Events that are not late count the same on one partition and spread over several by their visitor."""
    events = data.draw(arrivals(case, case.lateness), label="arrival")
    spread: list[list[Event]] = [[] for _ in range(partitions)]
    for event in events:
        spread[partition_of(event["visitor_id"], partitions)].append(event)
    expected = oracle.table(oracle.rows(case.keys, [events]))
    assert oracle.table(product.rows(case.keys, spread)) == expected
    assert oracle.table(oracle.rows(case.keys, spread)) == expected


# --- the wall clock ---------------------------------------------------------------------------------


@given(st.data(), cases(ids=False))
def test_under_the_wall_clock_one_who_runs_ahead_makes_nobody_late(data: st.DataObject, case: Case) -> None:
    """The clock stands somewhere among the events; those of up to `max_in_future` later come now already."""
    now = data.draw(st.sampled_from([event["timestamp"] for event in case.events] or [NOON]), label="now")
    case = Case(case.keys | {"clock": "wall"}, tuple(e for e in case.events if e["timestamp"] <= now + 2_000))
    events = data.draw(st.permutations(arriving_by(case, now)), label="arrival")
    partition = product.Partition(case.keys, now)
    for batch in batches(events, data.draw(cuts(len(events)))):
        partition.apply(batch)
    at = max([now, *(event["timestamp"] for event in events)])
    expected = oracle.table(oracle.rows(case.keys, [events], at, now))
    assert oracle.table(product.total(case.keys, [partition], at)) == expected
    for moment in range(now, at + 1_000, 1_000):
        for row in product.total(case.keys, [partition], moment):
            no_part_exceeds_its_whole(row)


def test_a_buyer_whose_clock_runs_ahead_is_no_rate_above_1() -> None:
    """He bought now, looks around two seconds ahead: a visitor as long as he is a converter."""
    keys = {"clock": "wall", "windows": ["1m"], "goals": GOALS}
    partition = product.Partition(keys, NOON)
    buyer = {"visitor_id": "v", "properties": {}}
    partition.apply([buyer | {"event": "purchase", "timestamp": NOON}])
    partition.apply([buyer | {"event": "page_view", "timestamp": NOON + 2_000}])
    for moment in range(NOON, NOON + 120_000, 1_000):
        for row in product.total(keys, [partition], moment):
            no_part_exceeds_its_whole(row)


def arriving_by(case: Case, now: int) -> list[Event]:
    """The events that are not late at a clock of `now`, and the last that is."""
    recent = [e for e in case.events if e["timestamp"] >= now - case.lateness]
    older = [e for e in case.events if e["timestamp"] < now - case.lateness]
    return older[-1:] + recent


def no_part_exceeds_its_whole(row: Any) -> None:
    for goal in row.goals.values():
        assert 0 <= goal.converters <= row.visitors
        assert 0 <= goal.converting_sessions <= row.sessions
        assert goal.conversions >= 0


# --- many ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_many_visitors_in_large_batches_with_crashes(seed: int) -> None:
    """Enough of everything that tables grow, rows are forgotten and sums take their way for many."""
    rng = random.Random(seed)
    keys: dict[str, Any] = {
        "windows": [["1m", "5m"], ["7s", "90s"], ["1m", "5m", "1h", "24h"], ["299s", "5m"]][seed % 4],
        "goals": GOALS,
        "dimensions": {"device": {"max_values": 3}, "brand": {"max_values": 20}},
        "allowed_lateness": "10s",
        "max_in_future": "2s",
        "session_gap": "30s",
        "dedupe_window": "1m",
    }
    events = traffic(rng, 20_000)
    worker = product.Worker(keys)
    position = 0
    while position < len(events):
        size = rng.choice([1, 10, 500, 3_000])
        worker.apply(events[position : position + size])
        position = min(position + size, len(events))
        if rng.random() < 0.2:
            worker.checkpoint(position)
        if rng.random() < 0.05:
            position = worker.crash()
    expected = oracle.table(oracle.rows(keys, [events]))
    assert len(expected) > 20
    assert oracle.table(product.total(keys, [worker.partition])) == expected


def traffic(rng: random.Random, n: int) -> list[Event]:
    """Lifelike events: visitors who come, look around, buy and return; some late, some twice."""
    t = float(NOON)
    timed = []
    for i in range(n):
        t += rng.expovariate(1 / 60)
        if rng.random() < 0.0005:
            t += 60_000
        number = int(rng.paretovariate(0.6)) % 9_000 + i // 4
        event: Event = {
            "event": rng.choices(["page_view", "purchase", "sign_up"], [90, 6, 4])[0],
            "visitor_id": f"v{number}",
            "timestamp": int(t),
            "session_id": rng.choice([None, f"s{rng.randrange(3)}"]),
            "device": rng.choice([None, "mobile", "desktop", "tablet", "tv", "watch"]),
            "value": rng.choice([None, f"{rng.random() * 100:.2f}", rng.randrange(1_000)]),
            "properties": {"brand": f"b{int(rng.paretovariate(1.1)) % 40}", "form": rng.choice(["a", "b"])},
        }
        if rng.random() < 0.3:
            event["event_id"] = f"e{i - (rng.randrange(1, 50) if rng.random() < 0.1 else 0)}"
        if rng.random() < 0.5:
            event["transaction_id"] = f"t{i // 3}"
        delay = rng.choice([0, 0, 0, rng.randrange(10_000), rng.randrange(15_000)])
        timed.append((int(t) + delay, i, event))
    return [event for _, _, event in sorted(timed, key=lambda item: item[:2])]
