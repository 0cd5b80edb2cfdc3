"""Values of a dimension as numbers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from monitor.rules import Dimension
from monitor.segments import OTHER, UNKNOWN, Segments


def fresh(max_values: int = 50) -> Segments:
    segments = Segments(Dimension("device", "device", max_values))
    assert segments.restore([UNKNOWN, OTHER], 1) == 3
    return segments


def read(segments: Segments, values: list[str | None]) -> npt.NDArray[np.int64]:
    segments.meet(values)
    return np.array([segments.number[value] for value in values], np.int64)


def numbers_of(segments: Segments, values: list[str | None], row: int) -> tuple[list[int], int]:
    """Numbers of values that all count, and the next free row."""
    numbers = read(segments, values)
    row = segments.settle(numbers, row)
    return numbers.tolist(), row


def test_values_get_numbers_and_rows_as_they_come() -> None:
    segments = fresh()
    found = numbers_of(segments, ["mobile", None, "desktop", "", "mobile"], 3)
    assert found == ([2, -1, 3, -1, 2], 5)
    assert segments.row.tolist() == [1, 2, 3, 4]
    assert numbers_of(segments, ["desktop"], 5) == ([3], 5)
    assert numbers_of(segments, [], 5) == ([], 5)


def test_a_value_of_events_that_do_not_count_gets_no_number() -> None:
    segments = fresh()
    first, second = read(segments, ["late", "b", "late", "a"]), read(segments, ["a", "late", None])
    counted = np.concatenate([first[[1, 3]], second[[0, 2]]])
    assert segments.settle(counted, 3) == 5
    assert counted.tolist() == [2, 3, 3, -1]
    assert segments.names == [UNKNOWN, OTHER, "b", "a"]
    assert numbers_of(segments, ["c", "late", "a"], 5) == ([4, 5, 3], 7)


def test_order_is_that_of_code_points() -> None:
    segments = fresh()
    numbers_of(segments, ["b", "Z", "é", "a", "\U0001f600", "\uffff"], 3)
    names = [segments.names[n] for n in segments.by_order]
    assert names == sorted(segments.names)
    assert segments.order[segments.by_order].tolist() == list(range(len(names)))


def test_a_value_that_is_called_other_or_unknown_is_just_that() -> None:
    segments = fresh()
    assert numbers_of(segments, [OTHER, UNKNOWN], 3) == ([1, 0], 3)


def test_a_million_values_do_not_take_more_rows_than_the_bound() -> None:
    segments = fresh()
    row = 3
    for start in range(0, 10_000, 1_000):
        numbers, row = numbers_of(segments, [f"v{i}" for i in range(start, start + 1_000)], row)
    assert len(segments.names) == segments.limit == row - 1
    assert set(numbers) == {1}
    assert numbers_of(segments, ["v0", "v999999"], row)[0] == [2, 1]
    assert Segments(Dimension("d", "d", 50_000)).limit <= 60_002


def test_names_come_back_from_a_checkpoint() -> None:
    segments = fresh()
    numbers_of(segments, ["x", "y"], 3)
    again = fresh()
    assert again.restore([UNKNOWN, OTHER, "y", "x"], 10) == 12
    assert again.numbers_of(["x", "y", OTHER]).tolist() == [3, 2, 1]
    assert again.row.tolist() == [1, 2, 10, 11]
