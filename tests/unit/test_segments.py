"""Values of a dimension as numbers."""

from __future__ import annotations

from monitor.rules import Dimension
from monitor.segments import OTHER, UNKNOWN, Segments


def fresh(max_values: int = 50) -> Segments:
    segments = Segments(Dimension("device", "device", max_values))
    assert segments.restore([UNKNOWN, OTHER], 1) == 3
    return segments


def test_values_get_numbers_and_rows_as_they_come() -> None:
    segments = fresh()
    numbers, row = segments.numbers(["mobile", None, "desktop", "", "mobile"], 3)
    assert (numbers.tolist(), row) == ([2, -1, 3, -1, 2], 5)
    assert segments.row.tolist() == [1, 2, 3, 4]
    assert segments.numbers(["desktop"], 5)[0].tolist() == [3]
    assert segments.numbers([], 5)[0].tolist() == []


def test_order_is_that_of_code_points() -> None:
    segments = fresh()
    segments.numbers(["b", "Z", "é", "a", "\U0001f600", "\uffff"], 3)
    names = [segments.names[n] for n in segments.by_order]
    assert names == sorted(segments.names)
    assert segments.order[segments.by_order].tolist() == list(range(len(names)))


def test_a_value_that_is_called_other_or_unknown_is_just_that() -> None:
    segments = fresh()
    assert segments.numbers([OTHER, UNKNOWN], 3)[0].tolist() == [1, 0]


def test_a_million_values_do_not_take_more_rows_than_the_bound() -> None:
    segments = fresh()
    row = 3
    for start in range(0, 10_000, 1_000):
        numbers, row = segments.numbers([f"v{i}" for i in range(start, start + 1_000)], row)
    assert len(segments.names) == segments.limit == row - 1
    assert set(numbers.tolist()) == {1}
    assert segments.numbers(["v0", "v999999"], row)[0].tolist() == [2, 1]
    assert Segments(Dimension("d", "d", 50_000)).limit <= 60_002


def test_names_come_back_from_a_checkpoint() -> None:
    segments = fresh()
    segments.numbers(["x", "y"], 3)
    again = fresh()
    assert again.restore([UNKNOWN, OTHER, "y", "x"], 10) == 12
    assert again.numbers_of(["x", "y", OTHER]).tolist() == [3, 2, 1]
    assert again.row.tolist() == [1, 2, 10, 11]
