import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import windows
from monitor.windows import (
    MAX_PANES,
    PANE_LENGTHS_MS,
    Window,
    format_duration,
    nearest_lengths,
    pane_length,
    parse_duration,
)


@pytest.mark.parametrize(
    ("text", "length_ms"),
    [
        ("0s", 0),
        ("250ms", 250),
        ("1s", 1_000),
        ("90s", 90_000),
        ("5m", 300_000),
        ("24h", 86_400_000),
        ("7d", 604_800_000),
        ("1h30m", 5_400_000),
        ("1m500ms", 60_500),
        ("1d2h3m4s5ms", 93_784_005),
        (" 5m ", 300_000),
        ("366d", 366 * 86_400_000),
    ],
)
def test_a_duration_is_read_as_milliseconds(text, length_ms):
    assert parse_duration(text) == length_ms


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no duration"),
        ("5", "5 has no unit: write 5s"),
        ("5M", "is no duration"),
        ("1.5h", "is no duration"),
        ("-5m", "is no duration"),
        ("30m1h", "is no duration"),
        ("1h 30m", "is no duration"),
        ("5 m", "is no duration"),
        ("5min", "is no duration"),
        ("٥m", "is no duration"),
        ("367d", "longer than 366 days"),
        ("9" * 5_000 + "h", "longer than 366 days"),
    ],
)
def test_what_is_no_duration_is_told(text, said):
    with pytest.raises(ValueError, match=said):
        parse_duration(text)


@given(st.integers(0, 366 * 86_400_000))
def test_a_formatted_duration_reads_back(length_ms):
    assert parse_duration(format_duration(length_ms)) == length_ms


@pytest.mark.parametrize(
    ("text", "pane", "panes"),
    [
        ("1s", "1s", 1),
        ("30s", "1s", 30),
        ("1m", "1s", 60),
        ("5m", "5s", 60),
        ("7m", "5s", 84),
        ("10m", "10s", 60),
        ("15m", "15s", 60),
        ("30m", "30s", 60),
        ("1h", "1m", 60),
        ("1h30m", "1m", 90),
        ("61m", "1m", 61),
        ("5h", "5m", 60),
        ("12h", "5m", 144),
        ("24h", "15m", 96),
        ("1d", "15m", 96),
        ("7d", "15m", 672),
        ("15d", "15m", 1_440),
        ("24m", "15s", 96),
    ],
)
def test_the_pane_is_the_longest_that_divides_and_is_at_most_a_sixtieth(text, pane, panes):
    window = Window.parse(text)
    assert (window.name, window.pane_ms, window.panes) == (text, parse_duration(pane), panes)


@given(st.integers(1, 15 * 86_400))
def test_the_pane_rule_holds_for_every_length(seconds):
    pane = pane_length(seconds * 1_000)
    allowed = [
        p for p in PANE_LENGTHS_MS if seconds * 1_000 % p == 0 and p <= max(1_000, seconds * 1_000 / 60)
    ]
    assert pane == max(allowed)


@pytest.mark.parametrize(
    ("text", "better"),
    [
        ("1h1s", "1h or 1h5s"),
        ("24h1s", "1d or 1d5m"),
        ("16d", "15d"),
        ("30d", "15d"),
        ("25m1s", "25m or 25m5s"),
    ],
)
def test_a_window_with_too_many_panes_is_refused_with_better_lengths(text, better):
    with pytest.raises(ValueError, match=rf"the nearest better is {better}$"):
        Window.parse(text)


@given(st.integers(1, 40 * 86_400))
def test_better_lengths_are_usable_and_near(seconds):
    better = nearest_lengths(seconds * 1_000)
    assert better
    for length in better:
        assert length // pane_length(length) <= MAX_PANES
        if seconds <= 15 * 86_400:
            assert abs(length - seconds * 1_000) <= 900_000


@pytest.mark.parametrize("text", ["0s", "500ms", "1500ms"])
def test_a_window_is_whole_seconds(text):
    with pytest.raises(ValueError, match="whole number of seconds"):
        Window.parse(text)


def test_examples_in_docstrings():
    assert doctest.testmod(windows).failed == 0
