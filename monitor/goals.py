"""Goals, and the contract of what may be one: a goal matches a desired action.

Whoever counts every page view or every click as a conversion measures traffic, not conversion. So a
**macro** goal (purchase, quote request, subscription) may not match a view or a click at all; a **micro**
goal (sign-up, newsletter, download, click on one named link) may, if it is narrowed to one named thing.
A match without `event` is satisfied by every event, page views included, and is judged the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from monitor.desire import Effort, effort_of
from monitor.fields import field_text, path_problem


@dataclass(frozen=True, slots=True)
class Goal:
    """A desired action with a name; an event that fits its `match` is a conversion."""

    name: str
    """Value of the label `goal`."""
    kind: Literal["macro", "micro"]
    """`macro`: what the business lives on; `micro`: a step towards it."""
    match: tuple[tuple[str, frozenset[str]], ...]
    """Field path → accepted values; an event fits if every path holds one of its values."""
    revenue: str | None = None
    """Path of the field that holds the amount (`value` or `properties.<name>`); None: no revenue."""
    default_currency: str = "USD"
    """ISO 4217 code for amounts of events without `currency`."""
    expected_rate: float | None = None
    """Converters ÷ visitors that is normal here, before a baseline is learned; None: not known."""

    def matches(self, event: object) -> bool:
        """Whether a decoded event (a mapping, or an object with attributes) is a conversion of this goal."""
        return all(field_text(event, path) in accepted for path, accepted in self.match)


def check_goal(goal: Goal) -> list[str]:
    """Reasons why a goal is refused, each with what to write instead; empty if it is fine."""
    if not goal.match:
        return [
            "the match is empty, so every event would convert: name the desired action, as event: purchase"
        ]
    reasons = [reason for path, accepted in goal.match for reason in _value_reasons(path, accepted)]
    if reasons:
        return reasons
    match = dict(goal.match)
    if "event" not in match:
        return _without_event(goal, match)
    by_effort: dict[Effort, list[str]] = {}
    for event in sorted(match["event"]):
        by_effort.setdefault(effort_of(event), []).append(event)
    return [
        reason
        for effort, events in sorted(by_effort.items(), key=lambda item: item[0].value)
        for reason in _event_reasons(goal, match, effort, " and ".join(events))
    ]


def _value_reasons(path: str, accepted: frozenset[str]) -> list[str]:
    problem = path_problem(path)
    if problem is not None:
        return [f"{problem[0]}: {problem[1]}"]
    if not accepted:
        return [f"{path} has an empty list, so nothing would ever convert: list at least one value"]
    reasons = []
    if "" in accepted:
        reasons.append(f"{path} accepts an empty text, which names nothing: write the value that is meant")
    # No action or page is named with an asterisk; a pattern would silently match nothing for ever.
    reasons += [
        f"{path}: {value} looks like a pattern, and a match is equality: list the values one by one"
        for value in sorted(accepted)
        if "*" in value
    ]
    return reasons


def _without_event(goal: Goal, match: Mapping[str, frozenset[str]]) -> list[str]:
    if goal.kind == "macro":
        return [
            "the match does not say which event, so a page view would satisfy it: add the desired action, "
            "as event: purchase"
        ]
    if _named_thing(match):
        return []
    return [
        "the match does not say which event, so any click or page view would satisfy it: add the desired "
        f"action, as event: sign_up{_why_not_narrow(match)}"
    ]


def _event_reasons(goal: Goal, match: Mapping[str, frozenset[str]], effort: Effort, events: str) -> list[str]:
    if effort is Effort.ACTION:
        return []
    if effort is Effort.AUTOMATIC:
        return [
            f"{events} happens by itself in every visit, nobody decides to do it: match the event that is "
            "sent when the desired action is done, as event: purchase or event: sign_up"
        ]
    if goal.kind == "macro":
        instead = "match the event that is sent when it is done, as event: purchase or generate_lead"
        return [f"a macro goal cannot be a view or a click, and {events} is one: {instead} ({_MICRO_HINT})"]
    if effort is Effort.NAMED or _named_thing(match):
        return []
    return [
        f"any {events} would satisfy it, and looking or clicking around is not converting: narrow it to one "
        f"named thing, as properties.link: pricing or page: /thanks{_why_not_narrow(match)}"
    ]


#: For whoever finds that his macro goal is a micro goal.
_MICRO_HINT = "for one named link or page write kind: micro and narrow it, as properties.link: pricing"


def _names_one(path: str, accepted: frozenset[str]) -> bool:
    """Whether a condition picks one thing that has a name: a page, or a property that is no yes/no flag."""
    if path == "page":
        return "/" not in accepted
    return path.startswith("properties.") and not accepted & {"true", "false"}


def _named_thing(match: Mapping[str, frozenset[str]]) -> bool:
    return any(_names_one(path, accepted) for path, accepted in match.items())


def _why_not_narrow(match: Mapping[str, frozenset[str]]) -> str:
    """A clause on conditions that are there and do not help; empty if there is nothing but `event`."""
    others = sorted(path for path in match if path != "event")
    if not others:
        return ""
    if "page" in others:
        return " (page: / is where visits begin, not what was wanted)"
    if any(path.startswith("properties.") for path in others):
        return f" ({', '.join(others)} is a yes or no, not a name)"
    return f" ({', '.join(others)} says which visitors, not what they did)"
