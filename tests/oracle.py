"""What the numbers must be: the counting rules once more, slow and plain, from the list of all events.

Written apart from the product and without looking at its code; it shares no line with it. Nothing here is
incremental: `rows` first decides, event by event in order of arrival, which events and conversions count at
all (`admit`), and then reads every number off the list of counted events by brute force.

The rules, where the design leaves something open:

- **Partition.** All state is one partition's: lateness, repeats, visitors. Numbers of partitions add up.
- **Late.** The watermark of a partition is the latest event time *counted* there. An event with t <
  watermark − allowed_lateness at its arrival is counted nowhere; at exactly that distance it counts. Under
  `clock: wall` the watermark is never ahead of the clock: one publisher whose clock runs ahead must not make
  everyone else late.
- **Repeat by event_id.** An event whose id was counted with |Δt| ≤ dedupe_window is dropped wholly: it
  moves no watermark, no visitor, and its own id and transaction are not remembered. A repeat that is late
  too goes to the counter of repeats.
- **Repeat by transaction_id.** A conversion of a goal whose transaction was counted for the same goal (of
  any visitor of the partition) with |Δt| ≤ longest window does not count: no conversion, converter,
  revenue, converting session. The event itself still counts as a visit. The first to arrive counts,
  whichever is earlier by event time.
- **Pane.** k = ⌊t/p⌋. At time T a window of length W holds the panes ⌊T/p⌋ − W/p < k ≤ ⌊T/p⌋. T is never
  below the latest counted event time of any partition (else a rate could exceed 1).
- **Visitor.** Sits in the pane of his last event; per dimension in the value of his latest event that
  carries it (same millisecond: the value greater in code-point order), `unknown` if none does. An event
  that comes, in order of arrival, more than the longest window after his last one finds him forgotten: no
  value of before is his any more.
- **Converter.** Sits in the pane of the visitor's latest counted conversion of the goal, in the visitor's
  values.
- **Conversions and revenue.** In the pane of the event; in the value that it carries itself, else in the
  one that the visitor has when it is counted (in order of arrival, this event included).
- **Session.** The events of one visitor with one session_id; his events without one are split where two
  that follow each other in time are more than session_gap apart (a late event can join two runs). It sits
  in the pane of its own last event; per dimension in the value of its own latest event that carries it,
  else in the value that the visitor had right after the session's first event in order of arrival.
  Forgotten like a visitor: an event more than the longest window after its last one begins it anew.
  **Converting session**: in the pane of its latest counted conversion of the goal, in the session's values.
- **Value.** null, "" and absent are not carried. Booleans are `true` and `false`, whole numbers have no
  point (3 and 3.0 are `3`).
- **Too many values.** Those that have any number other than 0 in any window are ranked by their visitors in
  the longest window, most first, equals in code-point order. The first max_values keep their rows, the
  others are `other`. `unknown` and `other` always have their own and take no place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

Raw = Mapping[str, Any]

UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
PANES = (900_000, 300_000, 60_000, 30_000, 15_000, 10_000, 5_000, 1_000)
OWN_FIELDS = "event page device channel source medium campaign country currency producer".split()


# --- the rules ------------------------------------------------------------------------------------


def duration(text: str) -> int:
    """Milliseconds of `5m`, `30s`, `250ms`, `24h`."""
    unit = text.lstrip("0123456789")
    return int(text.removesuffix(unit)) * UNITS[unit]


def pane_of(length: int) -> int:
    return next(p for p in PANES if length % p == 0 and p <= max(1_000, length / 60))


@dataclass(frozen=True)
class Config:
    """The counting rules of a config file, read from its keys as they stand in YAML."""

    windows: dict[str, int]
    goals: dict[str, Raw]
    dimensions: dict[str, Raw]
    lateness: int
    session_gap: int
    dedupe: int

    @classmethod
    def of(cls, keys: Raw) -> Config:
        return cls(
            windows={name: duration(name) for name in keys.get("windows", ["1m", "5m", "1h", "24h"])},
            goals=dict(keys["goals"]),
            dimensions={name: given or {} for name, given in keys.get("dimensions", {}).items()},
            lateness=duration(keys.get("allowed_lateness", "30s")),
            session_gap=duration(keys.get("session_gap", "30m")),
            dedupe=duration(keys.get("dedupe_window", "10m")),
        )

    @property
    def longest(self) -> int:
        return max(self.windows.values())


def text_at(event: Raw, path: str) -> str | None:
    """The text of a field (`device`, `properties.x`, `variant.x`); None if the event does not carry it."""
    if path in OWN_FIELDS:
        value = event.get(path)
    else:
        outer, _, inner = path.partition(".")
        value = (event.get(outer) or {}).get(inner)
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return str(value)


def field_of(dimension: str, given: Raw) -> str:
    """Where a dimension is read: its `field`, else the event's own field of its name, else a property."""
    path = given.get("field", dimension)
    return path if path in OWN_FIELDS or "." in path else f"properties.{path}"


def fits(event: Raw, match: Raw) -> bool:
    return all(
        text_at(event, path) in (list(map(str, wanted)) if isinstance(wanted, list) else [str(wanted)])
        for path, wanted in match.items()
    )


def amount_of(event: Raw, goal: Raw) -> Fraction | None:
    """The exact amount of a conversion; None if the goal has no revenue or the event no amount."""
    path = goal.get("revenue")
    if path is None:
        return None
    value = (
        event.get("value") if path == "value" else (event.get("properties") or {}).get(path.partition(".")[2])
    )
    return None if value is None or value == "" else Fraction(Decimal(str(value)))


# --- which events count ---------------------------------------------------------------------------


@dataclass
class Counted:
    """A counted event; the list it stands in is the order of arrival."""

    t: int
    visitor: str
    session: str | None
    values: dict[str, str]  # only of the dimensions that it carries
    goals: list[str]  # whose conversion it is, repeats of a transaction left out
    revenue: dict[str, tuple[str, Fraction]]  # goal → currency, amount


@dataclass
class Admitted:
    """The events of one partition, judged."""

    counted: list[Counted]
    duplicates: int = 0
    late: int = 0


def admit(config: Config, events: Iterable[Raw], now: int | None = None) -> Admitted:
    """Judges the events of one partition in order of arrival, at a wall clock of `now` (None: no clock)."""
    result = Admitted([])
    watermark: int | None = None
    ids: dict[str, list[int]] = defaultdict(list)
    transactions: dict[tuple[str, str], list[int]] = defaultdict(list)
    for event in events:
        t = event["timestamp"]
        event_id = event.get("event_id")
        if event_id is not None:
            if any(abs(t - before) <= config.dedupe for before in ids[event_id]):
                result.duplicates += 1
                continue
        if watermark is not None and t < min(watermark, now or watermark) - config.lateness:
            result.late += 1
            continue
        if event_id is not None:
            ids[event_id].append(t)
        counted = Counted(t, event["visitor_id"], event.get("session_id"), {}, [], {})
        for dimension, given in config.dimensions.items():
            value = text_at(event, field_of(dimension, given))
            if value is not None:
                counted.values[dimension] = value
        for name, goal in config.goals.items():
            if not fits(event, goal["match"]):
                continue
            transaction = event.get("transaction_id")
            if transaction is not None:
                if any(abs(t - before) <= config.longest for before in transactions[name, transaction]):
                    continue
                transactions[name, transaction].append(t)
            counted.goals.append(name)
            amount = amount_of(event, goal)
            if amount is not None:
                counted.revenue[name] = (event.get("currency") or goal.get("default_currency", "USD"), amount)
        result.counted.append(counted)
        watermark = t if watermark is None else max(watermark, t)
    return result


# --- visitors and sessions ------------------------------------------------------------------------


def life(config: Config, events: Sequence[Counted]) -> list[Counted]:
    """Those events of one visitor or session, in order of arrival, since he was last forgotten."""
    remembered: list[Counted] = []
    last = None
    for event in events:
        if last is not None and event.t - last > config.longest:
            remembered = []
        remembered.append(event)
        last = event.t if last is None else max(last, event.t)
    return remembered


def values_of(config: Config, events: Sequence[Counted]) -> dict[str, str]:
    """Value per dimension by the latest event that carries it; those that none carries are left out."""
    remembered = life(config, events)
    values = {}
    for dimension in config.dimensions:
        carried = [(e.t, e.values[dimension]) for e in remembered if dimension in e.values]
        if carried:
            values[dimension] = max(carried)[1]
    return values


def sessions_of(config: Config, events: Sequence[Counted]) -> list[list[Counted]]:
    """One visitor's events, session by session; each list in order of arrival."""
    named: dict[str, list[Counted]] = defaultdict(list)
    for event in events:
        if event.session is not None:
            named[event.session].append(event)
    runs: list[list[Counted]] = []
    for event in sorted((e for e in events if e.session is None), key=lambda e: e.t):
        if runs and event.t - runs[-1][-1].t <= config.session_gap:
            runs[-1].append(event)
        else:
            runs.append([event])
    in_order = {id(event): position for position, event in enumerate(events)}
    return [sorted(run, key=lambda e: in_order[id(e)]) for run in [*named.values(), *runs]]


def session_values(config: Config, session: Sequence[Counted], visitor: Sequence[Counted]) -> dict[str, str]:
    """A session's value per dimension: its own, else what the visitor had right after it began."""
    began = life(config, session)[0]
    until_then = visitor[: next(i for i, e in enumerate(visitor) if e is began) + 1]
    return values_of(config, until_then) | values_of(config, session)


# --- the numbers ----------------------------------------------------------------------------------


@dataclass
class Goal:
    """Numbers of a goal in one row."""

    converters: int = 0
    conversions: int = 0
    converting_sessions: int = 0
    revenue: dict[str, Fraction] = field(default_factory=dict)


@dataclass
class Row:
    """Numbers of one window in one value of one dimension; `all` and `all` is the whole."""

    window: str
    dimension: str
    value: str
    visitors: int
    sessions: int
    goals: dict[str, Goal]


@dataclass(frozen=True)
class Fact:
    """One thing to add up: it stands at a time, in one value per dimension, and adds to one number."""

    t: int
    values: Mapping[str, str]
    number: str  # visitors, sessions, converters, conversions, converting_sessions, revenue
    goal: str = ""
    currency: str = ""
    amount: Fraction = Fraction(1)


def facts(config: Config, counted: Sequence[Counted]) -> Iterator[Fact]:
    """Everything that the counted events of one partition add up to, whatever the window."""
    visitors: dict[str, list[Counted]] = defaultdict(list)
    for event in counted:
        visitors[event.visitor].append(event)
    for events in visitors.values():
        now = values_of(config, events)
        yield Fact(max(e.t for e in events), now, "visitors")
        for goal in config.goals:
            done = [e.t for e in events if goal in e.goals]
            if done:
                yield Fact(max(done), now, "converters", goal)
        for session in sessions_of(config, events):
            values = session_values(config, session, events)
            yield Fact(max(e.t for e in session), values, "sessions")
            for goal in config.goals:
                done = [e.t for e in session if goal in e.goals]
                if done:
                    yield Fact(max(done), values, "converting_sessions", goal)
        for position, event in enumerate(events):
            if event.goals:
                values = values_of(config, events[: position + 1]) | event.values
            for goal in event.goals:
                yield Fact(event.t, values, "conversions", goal)
                if goal in event.revenue:
                    yield Fact(event.t, values, "revenue", goal, *event.revenue[goal])


def holds(window: int, at: int, t: int) -> bool:
    """Whether the window that ends at `at` holds the pane of `t`."""
    pane = pane_of(window)
    return at // pane - window // pane < t // pane <= at // pane


def rows(
    keys: Raw, partitions: Sequence[Iterable[Raw]], at: int | None = None, now: int | None = None
) -> list[Row]:
    """All rows at time `at` (default: the latest event time counted), from all events of each partition."""
    config = Config.of(keys)
    counted = [admit(config, events, now).counted for events in partitions]
    latest = max((e.t for events in counted for e in events), default=0)
    at = latest if at is None else at
    if at < latest:
        raise ValueError(f"{at} is before the latest counted event {latest}")
    found = [fact for events in counted for fact in facts(config, events)]
    table: dict[tuple[str, str, str], Row] = {}

    def row(window: str, dimension: str, value: str) -> Row:
        key = (window, dimension, value)
        if key not in table:
            table[key] = Row(window, dimension, value, 0, 0, {goal: Goal() for goal in config.goals})
        return table[key]

    for name, length in config.windows.items():
        row(name, "all", "all")
        for fact in found:
            if holds(length, at, fact.t):
                add(row(name, "all", "all"), fact)
    for dimension, given in config.dimensions.items():
        own = own_rows(config, dimension, int(given.get("max_values", 50)), found, at)
        for name, length in config.windows.items():
            for fact in found:
                if holds(length, at, fact.t):
                    value = fact.values.get(dimension, "unknown")
                    add(row(name, dimension, value if value in own else "other"), fact)
    return list(table.values())


def own_rows(config: Config, dimension: str, places: int, found: Sequence[Fact], at: int) -> set[str]:
    """The values of a dimension that keep a row of their own."""
    visitors: dict[str, int] = {}
    for fact in found:
        if any(holds(length, at, fact.t) for length in config.windows.values()):
            value = fact.values.get(dimension, "unknown")
            seen = fact.number == "visitors" and holds(config.longest, at, fact.t)
            visitors[value] = visitors.get(value, 0) + seen
    ranked = sorted(visitors.keys() - {"unknown", "other"}, key=lambda value: (-visitors[value], value))
    return {*ranked[:places], "unknown", "other"}


def add(row: Row, fact: Fact) -> None:
    if fact.number in ("visitors", "sessions"):
        setattr(row, fact.number, getattr(row, fact.number) + 1)
    elif fact.number == "revenue":
        revenue = row.goals[fact.goal].revenue
        revenue[fact.currency] = revenue.get(fact.currency, Fraction(0)) + fact.amount
    else:
        goal = row.goals[fact.goal]
        setattr(goal, fact.number, getattr(goal, fact.number) + 1)


# --- comparing ------------------------------------------------------------------------------------


def table(rows: Iterable[Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Rows of the oracle or of the product by (window, dimension, value), zeros left out, to compare by `==`.

    A row without any number is the same as no row, no amount the same as 0; a row that comes twice fails.
    """
    result: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in rows:
        numbers: dict[str, Any] = {"visitors": row.visitors, "sessions": row.sessions}
        for name, goal in row.goals.items():
            numbers[f"{name}.converters"] = goal.converters
            numbers[f"{name}.conversions"] = goal.conversions
            numbers[f"{name}.converting_sessions"] = goal.converting_sessions
            for currency, amount in goal.revenue.items():
                numbers[f"{name}.revenue.{currency}"] = Fraction(amount)
        numbers = {name: number for name, number in numbers.items() if number}
        key = (row.window, row.dimension, row.value)
        if key in result:
            raise AssertionError(f"{key} stands twice")
        if numbers:
            result[key] = numbers
    return result


def differences(found: Mapping[Any, Any], wanted: Mapping[Any, Any]) -> list[str]:
    """Where two tables differ, a line each."""
    lines = []
    for key in sorted(found.keys() | wanted.keys()):
        one, other = found.get(key, {}), wanted.get(key, {})
        for name in sorted(one.keys() | other.keys()):
            if one.get(name, 0) != other.get(name, 0):
                lines.append(f"{' '.join(key)}: {name} is {one.get(name, 0)}, not {other.get(name, 0)}")
    return lines
