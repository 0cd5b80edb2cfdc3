"""Times as files have them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.event_times import parse_time

OCTOBER = 1_569_888_000_000


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2019-10-01 00:00:00 UTC", OCTOBER),
        ("2019-10-01 00:00 UTC", OCTOBER),
        ("2019-10-01 00:00:00.250 UTC", OCTOBER + 250),
        ("2019-10-01 00:00:00 GMT", OCTOBER),
        ("2019-10-01T00:00:00Z", OCTOBER),
        ("2019-10-01T02:00:00.001+02:00", OCTOBER + 1),
        ("2019-09-30 19:00:00-05:00", OCTOBER),
        (" 2019-10-01T00:00:00Z ", OCTOBER),
        ("1569888000", OCTOBER),
        ("1569888000.123", OCTOBER + 123),
        ("1569888000123", OCTOBER + 123),
        ("1569888000123.9", OCTOBER + 123),
        (1_569_888_000, OCTOBER),
        (1_569_888_000_123, OCTOBER + 123),
        (Decimal("1569888000.5"), OCTOBER + 500),
        (Decimal("1.569888E+9"), OCTOBER),
    ],
)
def test_every_accepted_form(text, ms):
    assert parse_time(text) == ms


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("2019-10-01 00:00:00", "without zone"),
        ("2019-10-01", "without zone"),
        ("01/10/2019 00:00", "not a time"),
        ("", "not a time"),
        ("yesterday", "not a time"),
        ("2019-13-01 00:00:00 UTC", "not a time"),
        ("1569888000123456", "neither epoch seconds nor milliseconds"),
        ("9" * 400, "neither epoch seconds nor milliseconds"),
        (Decimal("NaN"), "neither"),
        (True, "not a time"),
        (None, "not a time"),
        ([], "not a time"),
    ],
)
def test_everything_else_is_told_what_it_lacks(value, says):
    with pytest.raises(ValueError, match=says):
        parse_time(value)


@given(st.integers(100_000_000, 99_999_999_999))
def test_seconds_and_milliseconds_are_told_apart(seconds):
    assert parse_time(seconds) == parse_time(str(seconds)) == parse_time(seconds * 1000) == seconds * 1000
