"""When a minute is over everywhere, and what it then holds."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.minute_book import MinuteBook
from monitor.minutes import MINUTE_MS
from monitor.snapshot import ALL

#: Measures: visitors and one goal; rows: the whole and two devices.
SEGMENTS = [("device", ["mobile", "desktop"], [1, 2])]
WIDTH = 3
LATE = 30_000


def told(minute: int, visitors: int, bought: int = 0, row: int = 1) -> Any:
    """A minute of one segment value."""
    cells = [(0, visitors), (row, visitors), (WIDTH, bought), (WIDTH + row, bought)]
    cells = [(cell, n) for cell, n in cells if n]
    return (minute, WIDTH, [cell for cell, _ in cells], [n for _, n in cells])


def over(minute: int) -> int:
    """The event time at which a minute is over, lateness included."""
    return (minute + 1) * MINUTE_MS + LATE


def book(partitions: int = 1, closed: int | None = 9) -> MinuteBook:
    return MinuteBook(partitions, 2, LATE, closed)


def closed(found: MinuteBook) -> dict[int, list[int]]:
    return {minute: total[(ALL, ALL)].tolist() for minute, total in found.close()}


def test_a_minute_is_over_when_time_and_lateness_have_passed() -> None:
    found = book()
    found.put(0, over(10) - 1, SEGMENTS, [told(10, 3, 1)])
    assert closed(found) == {}
    found.put(0, over(10), SEGMENTS, [])
    assert closed(found) == {10: [3, 1]}
    assert found.closed == 10


def test_minutes_close_in_order_and_none_is_left_out() -> None:
    found = book()
    found.put(0, over(14), SEGMENTS, [told(14, 4), told(11, 2)])
    assert closed(found) == {10: [0, 0], 11: [2, 0], 12: [0, 0], 13: [0, 0], 14: [4, 0]}


def test_it_waits_for_every_partition() -> None:
    found = book(partitions=2)
    found.put(0, over(10), SEGMENTS, [told(10, 3)])
    assert closed(found) == {}, "the other one has told nothing yet"
    found.put(1, None, SEGMENTS, [])
    assert closed(found) == {}, "nor does one without any event let it go on"
    found.put(1, over(10) - 1, SEGMENTS, [told(10, 4)])
    assert closed(found) == {}
    found.put(1, over(10), SEGMENTS, [])
    assert closed(found) == {10: [7, 0]}


def test_a_partition_that_has_nothing_to_read_goes_with_the_others() -> None:
    found = book(partitions=2)
    found.put(0, over(10), SEGMENTS, [told(10, 3)])
    found.put(1, over(10) + 5, SEGMENTS, [])
    assert closed(found) == {10: [3, 0]}


def test_time_does_not_go_back() -> None:
    found = book()
    found.put(0, over(10), SEGMENTS, [told(10, 3)])
    found.put(0, over(8), SEGMENTS, [])
    assert closed(found) == {10: [3, 0]}


def test_segments_go_by_name_and_are_added_up_over_partitions() -> None:
    found = book(partitions=2)
    found.put(0, over(10), SEGMENTS, [told(10, 3, 1, row=1)])
    found.put(1, over(10), [("device", ["desktop", "mobile"], [1, 2])], [told(10, 5, 2, row=2)])
    [(_, total)] = found.close()
    assert {segment: numbers.tolist() for segment, numbers in total.items()} == {
        (ALL, ALL): [8, 3],
        ("device", "mobile"): [8, 3],
    }


def test_a_row_without_a_name_is_left_out() -> None:
    found = book()
    found.put(0, over(10), [], [told(10, 3, 1)])
    [(_, total)] = found.close()
    assert list(total) == [(ALL, ALL)]


def test_a_later_message_replaces_an_earlier_one() -> None:
    found = book()
    found.put(0, over(9), SEGMENTS, [told(10, 3, row=1)])
    found.put(0, over(10), SEGMENTS, [told(10, 2, row=2)])
    [(_, total)] = found.close()
    assert {s: n.tolist() for s, n in total.items()} == {(ALL, ALL): [2, 0], ("device", "desktop"): [2, 0]}


def test_what_was_closed_stays_closed() -> None:
    found = book(closed=12)
    found.put(0, over(12), SEGMENTS, [told(10, 3), told(12, 4)])
    assert closed(found) == {}
    found.put(0, over(13), SEGMENTS, [told(12, 4)])
    assert closed(found) == {13: [0, 0]}
    assert found._partitions[0].minutes == {}, "nothing piles up"


def test_a_closed_minute_is_its_reader_s_own() -> None:
    """What is given out is not what the next minute is made of."""
    found = book(partitions=2)
    found.put(0, over(11), SEGMENTS, [told(10, 3), told(11, 3)])
    found.put(1, over(11), SEGMENTS, [told(10, 4), told(11, 4)])
    numbers = []
    for _, total in found.close():
        numbers.append(total[(ALL, ALL)].tolist())
        for values in total.values():
            values[:] = 100
    assert numbers == [[7, 0], [7, 0]]


def test_a_backlog_is_closed_in_portions() -> None:
    found = book()
    found.put(0, over(30), SEGMENTS, [told(m, m) for m in range(10, 31)])
    portions = [[minute for minute, _ in found.close(at_most=8)] for _ in range(4)]
    assert portions == [list(range(10, 18)), list(range(18, 26)), list(range(26, 31)), []]


def test_without_any_minute_there_is_nothing_to_begin_with() -> None:
    found = book(closed=None)
    found.put(0, over(10), SEGMENTS, [])
    assert closed(found) == {}
    assert found.closed is None


def test_the_first_minute_of_all_is_not_judged() -> None:
    """Counting began somewhere in it: a few seconds of traffic are no minute to learn from."""
    found = book(closed=None)
    found.put(0, over(12), SEGMENTS, [told(10, 3), told(11, 5), told(12, 4)])
    assert list(closed(found)) == [11, 12]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 32))
def test_replays_and_repeats_change_nothing(seed: int) -> None:
    """Messages are lost, repeated and told again from the last closed minute; the sums are those of the truth."""
    rng = random.Random(seed)
    partitions, minutes = rng.randrange(1, 4), range(10, 22)
    truth = {(p, m): rng.randrange(5) for p in range(partitions) for m in minutes}
    found = book(partitions)
    total: dict[int, list[int]] = {}
    passed = dict.fromkeys(range(partitions), 10)
    while len(total) < len(minutes):
        p = rng.randrange(partitions)
        passed[p] = min(passed[p] + rng.randrange(3), minutes[-1] + 1)
        # All minutes before `passed` have their final number; later ones may still be partial.
        news = [
            told(m, truth[p, m] if m < passed[p] else rng.randrange(truth[p, m] + 1))
            for m in minutes
            if m < passed[p] + 2
        ]
        rng.shuffle(news)
        for _ in range(rng.randrange(1, 3)):
            found.put(p, over(passed[p] - 1), SEGMENTS, news)
        if rng.random() < 0.2:  # the holder starts anew from what it saved, everybody tells again
            found = book(partitions, closed=found.closed)
            passed_now = dict(passed)
            for q in range(partitions):
                again = [told(m, truth[q, m]) for m in minutes if m < passed_now[q]]
                found.put(q, over(passed_now[q] - 1), SEGMENTS, again)
        for minute, numbers in closed(found).items():
            assert minute not in total
            total[minute] = numbers
    assert total == {m: [sum(truth[p, m] for p in range(partitions)), 0] for m in minutes}
    assert list(total) == list(minutes)
