import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.rates import rate, wilson


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [(18, 450, 0.04), (10_000, 100_000, 0.1), (5, 10, 0.5), (5, 100, 0.05), (1, 1, 1.0), (0, 7, 0.0)],
)
def test_rate_is_part_of_whole(part: int, whole: int, expected: float) -> None:
    assert rate(part, whole) == expected


def test_nothing_seen_has_no_rate_and_no_interval() -> None:
    assert rate(0, 0) is None
    assert wilson(0, 0) is None


@pytest.mark.parametrize(("part", "whole"), [(2, 1), (-1, 5), (1, 0)])
def test_a_rate_above_one_or_below_zero_is_refused(part: int, whole: int) -> None:
    with pytest.raises(ValueError, match="between 0 and its whole"):
        rate(part, whole)
    with pytest.raises(ValueError, match="between 0 and its whole"):
        wilson(part, whole)


@pytest.mark.parametrize(
    ("part", "whole", "lower", "upper"),
    [
        # published values: Newcombe 1998 (table I, method 3) for 81/263, 15/148, 0/20, 1/29
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0000),
    ],
)
def test_wilson_agrees_with_published_intervals(part: int, whole: int, lower: float, upper: float) -> None:
    assert wilson(part, whole) == pytest.approx((lower, upper), abs=5e-5)


@given(st.integers(1, 10**12).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_encloses_the_rate_within_zero_and_one(counts: tuple[int, int]) -> None:
    part, whole = counts
    interval = wilson(part, whole)
    seen = rate(part, whole)
    assert interval is not None
    assert seen is not None
    assert 0.0 <= interval[0] <= seen <= interval[1] <= 1.0
