"""Times as they stand in files, to epoch milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

#: Numbers from here on are milliseconds: as seconds this would be the year 5138, as milliseconds it is 1973.
FIRST_MS = 100_000_000_000
#: Numbers from here on are neither: as milliseconds this is the year 5138.
FIRST_MICROSECONDS = 100_000_000_000_000
ACCEPTED = "RFC 3339 with zone, epoch seconds or milliseconds, YYYY-MM-DD hh:mm:ss UTC"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_UTC = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(:\d\d(?:\.\d+)?)?) ?(UTC|GMT)")


def parse_time(value: object) -> int:
    """Epoch milliseconds, rounded down, of an event time in any of the formats of `ACCEPTED`.

    >>> parse_time("2019-10-01 00:00:00 UTC"), parse_time("1569888000.5"), parse_time(1569888000000)
    (1569888000000, 1569888000500, 1569888000000)

    Raises:
        ValueError: It is none of them; says what it lacks, without quoting it.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        msg = f"not a time: {ACCEPTED} are accepted"
        raise ValueError(msg)
    text = str(value).strip()
    if isinstance(value, Decimal) or _NUMBER.fullmatch(text):
        return _from_number(text)
    try:
        moment = datetime.fromisoformat(_UTC.sub(r"\1T\2+00:00", text))
    except ValueError as error:
        msg = f"not a time: {ACCEPTED} are accepted"
        raise ValueError(msg) from error
    if moment.tzinfo is None:
        msg = "a time without zone: write UTC, Z or an offset such as +02:00 after it"
        raise ValueError(msg)
    return (moment - _EPOCH) // _MS


def _from_number(text: str) -> int:
    try:
        number = Decimal(text)
        if not number.is_finite() or abs(number) >= FIRST_MICROSECONDS:
            raise InvalidOperation
    except InvalidOperation as error:
        msg = "neither epoch seconds nor milliseconds"
        raise ValueError(msg) from error
    return int(number if abs(number) >= FIRST_MS else number * 1000)
