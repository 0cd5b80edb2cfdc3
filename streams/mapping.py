"""From the row of any file to an event of the contract.

An event's field takes, in this order: the constant given for it, the column mapped to it, the column of its
own name. `--rename` then changes values that a shop calls otherwise. Other columns are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec

from monitor.rules import Rules
from monitor.windows import Window
from streams.event_times import parse_time
from streams.events import Decoder, Event
from streams.rows import Row

#: Fields of the contract, from the decoder itself.
FIELDS = tuple(f.name for f in msgspec.structs.fields(Event))
#: Fields with fields of their own, written `properties.brand`.
OBJECTS = ("properties", "variant")
#: Fields whose values may be anything but text without harm.
NOT_TEXT = ("timestamp", "value", "properties", "variant")
#: Events of the future are the worker's to judge: its config says how far ahead is too far.
_ANY_TIME = 1 << 62

_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class Mapped:
    """An event ready to be published.

    Attributes:
        value: UTF-8 JSON.
        key: The visitor's id: the key of the message.
        time_ms: Its event time, epoch ms.
    """

    value: bytes
    key: bytes
    time_ms: int


def field_fault(name: str) -> str | None:
    """Why `name` is no field of an event that can be mapped; None if it is one."""
    head, _, rest = name.partition(".")
    if (head in OBJECTS and rest) or (name in FIELDS and name not in OBJECTS):
        return None
    fields = ", ".join(f for f in FIELDS if f not in OBJECTS)
    return f"an event has no field {name!r}; it has {fields}, properties.NAME, variant.NAME"


@dataclass(frozen=True)
class Mapper:
    """How rows become events.

    Attributes:
        columns: Field of the event → column of the file (in JSON lines a dotted path).
        renames: Field → value in the file → value in the event.
        constants: Field → value.
        shift_ms: Added to every event time.
        id_prefix: If given, a row without `event_id` gets this, a colon and its line number.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    renames: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    shift_ms: int = 0
    id_prefix: str | None = None
    _decoder: Decoder = field(
        default_factory=lambda: Decoder(Rules((Window.parse("1m"),), (), max_in_future_ms=_ANY_TIME)),
        init=False,
        repr=False,
        compare=False,
    )

    def missing_columns(self, header: Iterable[str]) -> dict[str, str]:
        """Fields that are mapped to a column which the header of a CSV file does not have."""
        there = set(header)
        return {name: column for name, column in self.columns.items() if column not in there}

    def map(self, row: Row) -> Mapped | str:
        """The event of a row, or why there is none; the reason names fields and quotes no values."""
        if row.fault is not None:
            return row.fault
        if self._unchanged(row) and isinstance(mapped := self._checked(row.raw), Mapped):
            return mapped
        fields = self._fields(row)
        if isinstance(fields, str):
            return fields
        try:
            value = _encode(fields)
        except (TypeError, ValueError, RecursionError) as error:
            return f"not JSON: {error}"
        return self._checked(value)

    def _unchanged(self, row: Row) -> bool:
        """Whether the row itself may be the event, byte for byte."""
        plain = not (self.columns or self.renames or self.constants or self.shift_ms)
        return (
            plain
            and row.raw.startswith(b"{")
            and (self.id_prefix is None or row.cells.get("event_id") is not None)
        )

    def _fields(self, row: Row) -> dict[str, object] | str:
        fields = self._taken(row.cells)
        for name, cell in fields.items():
            if name not in NOT_TEXT and isinstance(cell, int | Decimal) and not isinstance(cell, bool):
                fields[name] = str(cell)  # ids are text in the contract and numbers in many shops
        for name, renamed in self.renames.items():
            if isinstance(cell := _at(fields, name), str) and cell in renamed:
                _put(fields, name, renamed[cell])
        if self.id_prefix is not None:
            fields.setdefault("event_id", f"{self.id_prefix}:{row.line}")
        if "timestamp" in fields:
            try:
                fields["timestamp"] = parse_time(fields["timestamp"]) + self.shift_ms
            except ValueError as error:
                return f"bad_timestamp: {error}"
        return fields

    def _taken(self, cells: Mapping[str, object]) -> dict[str, object]:
        """Fields with the values that they take from the columns, and constants."""
        fields: dict[str, object] = {}
        for name in FIELDS:
            if (cell := cells.get(name)) is not None and name not in self.columns:
                fields[name] = {**cell} if isinstance(cell, dict) else cell
        for column, cell in cells.items():
            if column.startswith(("properties.", "variant.")):
                _put(fields, column, cell)
        for name, column in self.columns.items():
            if (cell := _at(cells, column)) is not None:
                _put(fields, name, cell)
        for name, constant in self.constants.items():
            _put(fields, name, constant)
        return fields

    def _checked(self, value: bytes) -> Mapped | str:
        """The event if it keeps the contract; else the reason."""
        decoded = self._decoder.decode([value], 0)
        if decoded.rejected:
            fault = decoded.rejected[0]
            return f"{fault.reason}: {fault.detail}"
        event = decoded.events[0]
        assert isinstance(event.timestamp, int)
        return Mapped(value, event.visitor_id.encode(), event.timestamp)


def _at(cells: Mapping[str, object], path: str) -> object:
    """Value of a column, or of a dotted path into nested JSON; None if there is none."""
    if path in cells:
        return cells[path]
    at: object = cells
    for part in path.split("."):
        if not isinstance(at, dict):
            return None
        at = at.get(part)
    return at


def _put(fields: dict[str, object], name: str, value: object) -> None:
    head, _, rest = name.partition(".")
    if head in OBJECTS and rest:
        inner = fields.setdefault(head, {})
        if isinstance(inner, dict):
            inner[rest] = value
    else:
        fields[name] = value
