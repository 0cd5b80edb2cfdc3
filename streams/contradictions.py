"""Settings that are each fine and cannot be together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitor.windows import format_duration
from streams.config_detection import Detection
from streams.config_entries import Entry, Problems

if TYPE_CHECKING:
    from streams.settings import ConfigFile, Kafka

#: Topics that the worker writes to itself; reading events from one would feed it its own output.
OWN_TOPICS = ("clickstream-dead-letter", "conversion-counts", "conversion-alerts")


@dataclass(frozen=True)
class _Report:
    """Notes contradictions, and leaves alone what has a problem already: it is not what was meant."""

    root: Entry
    problems: Problems
    refused: frozenset[str]
    """Keys whose values could not be used; a default stands in for them."""

    def bad(self, *keys: str) -> bool:
        """Whether one of the keys could not be used."""
        return any(key in self.refused for key in keys)

    def add(self, path: str, reason: str, remedy: str) -> None:
        """Notes a problem under the key that is meant, also if only a section above it is written."""
        if self.bad(path):
            return
        entry = entry_at(self.root, path)
        if entry is self.root:
            self.problems.add(None, reason, remedy, key=path)
        else:
            self.problems.add(Entry(path, entry.line, {}), reason, remedy)


def find_contradictions(config: ConfigFile, root: Entry, problems: Problems) -> None:
    """Notes every contradiction of a config whose values could be read."""
    report = _Report(root, problems, frozenset(problem.key for problem in problems.found))
    _times(config, report)
    _windows(config, report)
    _names(config, report)
    _kafka(config.kafka, report)
    _security(config.kafka, report)
    _days(config.detection, report)
    _mutes(config, report)


def entry_at(root: Entry, path: str) -> Entry:
    """The entry at a path such as `kafka.topic` or `windows[1]`; where it is not written, what is nearest."""
    at = root
    for part in path.replace("[", ".[").split("."):
        if isinstance(at.value, dict) and part in at.value:
            at = at.value[part]
        elif isinstance(at.value, list) and part.startswith("["):
            found = next((item for item in at.value if item.key.endswith(part)), None)
            if found is None:
                break
            at = found
        else:
            break
    return at


def _times(config: ConfigFile, report: _Report) -> None:
    spread = config.allowed_lateness + config.max_in_future
    involved: tuple[str, ...] = ("allowed_lateness", "max_in_future", "session_gap")
    if spread >= config.session_gap and not report.bad(*involved):
        parts = f"allowed_lateness + max_in_future = {format_duration(spread)}"
        reason = f"{parts} is not less than session_gap = {format_duration(config.session_gap)}"
        path = next(
            (key for key in ("allowed_lateness", "max_in_future") if _written(report.root, key)),
            "session_gap",
        )
        remedy = "lower one of the two or raise session_gap: an event could belong to either of two sessions"
        report.add(path, reason, remedy)
    involved = ("allowed_lateness", "dedupe_window", "max_in_future", "session_gap")
    if config.dedupe_window < config.allowed_lateness and not report.bad(*involved):
        lateness = format_duration(config.allowed_lateness)
        path = "dedupe_window" if _written(report.root, "dedupe_window") else "allowed_lateness"
        shorter = f"dedupe_window = {format_duration(config.dedupe_window)} is shorter"
        reason = f"{shorter} than allowed_lateness = {lateness}, so a late repeat would count again"
        report.add(path, reason, f"set dedupe_window to {lateness} or more")


def _written(root: Entry, key: str) -> bool:
    return isinstance(root.value, dict) and key in root.value


def _windows(config: ConfigFile, report: _Report) -> None:
    seen: dict[int, str] = {}
    for index, window in enumerate(config.windows):
        other = seen.setdefault(window.length_ms, window.name)
        repeated = other != window.name or [w.name for w in config.windows[:index]].count(window.name)
        if repeated:
            reason = (
                f"{window.name} is there twice" if other == window.name else f"{window.name} is {other} again"
            )
            report.add(_window_path(report.root, window.name), reason, "keep one of the two")


def _window_path(root: Entry, name: str) -> str:
    """Path of the last item that is written so."""
    entry = entry_at(root, "windows")
    items = entry.value if isinstance(entry.value, list) else []
    paths = [item.key for item in items if getattr(item.value, "text", "").strip() == name]
    return paths[-1] if paths else "windows"


def _names(config: ConfigFile, report: _Report) -> None:
    by_field: dict[str, str] = {}
    for dimension in config.dimensions:
        other = by_field.setdefault(dimension.field, dimension.name)
        if other != dimension.name:
            reason = f"reads {dimension.field}, as {other} does"
            report.add(f"dimensions.{dimension.name}", reason, "keep one of the two")


def _kafka(kafka: Kafka, report: _Report) -> None:
    if kafka.topic in OWN_TOPICS:
        reason = f"the worker writes to {kafka.topic} itself"
        report.add("kafka.topic", reason, "name the topic that publishers send events to")
    if not kafka.embedded:
        return
    if kafka.replication_factor > 1:
        reason = f"the embedded broker is one broker and cannot keep {kafka.replication_factor} copies"
        report.add("kafka.replication_factor", reason, "write 1")
    if kafka.security.protocol != "PLAINTEXT":
        reason = f"the embedded broker does not speak {kafka.security.protocol}"
        report.add("kafka.security.protocol", reason, "write PLAINTEXT, or name real brokers")


def _security(kafka: Kafka, report: _Report) -> None:
    security = kafka.security
    section = "kafka.security"
    for key in ("mechanism", "username", "password"):
        given = getattr(security, key) not in (None, "")
        if security.protocol.startswith("SASL") and not given:
            report.add(f"{section}.{key}", f"{security.protocol} needs a {key}", f"set {key}")
        if not security.protocol.startswith("SASL") and given:
            reason = f"{key} has no use with protocol {security.protocol}"
            report.add(f"{section}.{key}", reason, "set protocol: SASL_SSL, or delete it")
    for key in ("ca_file", "cert_file", "key_file"):
        if not security.protocol.endswith("SSL") and getattr(security, key) is not None:
            reason = f"{key} has no use with protocol {security.protocol}"
            report.add(f"{section}.{key}", reason, "set protocol: SSL or SASL_SSL, or delete it")
    for key, other in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if getattr(security, key) is not None and getattr(security, other) is None:
            report.add(f"{section}.{key}", f"{key} needs a {other}", f"set {other} too")


def _days(detection: Detection, report: _Report) -> None:
    days = [day.date for day in detection.calendar]
    # Where an entry could not be read, the others no longer stand at their index.
    if _length(report.root, "detection.calendar") != len(days):
        return
    for index, day in enumerate(days):
        if day in days[:index]:
            path = f"detection.calendar[{index}]"
            report.add(path, f"{day} is there twice", "put factor and learn into one entry")


def _length(root: Entry, path: str) -> int:
    value = entry_at(root, path).value
    return len(value) if isinstance(value, list) else 0


def _names_written(root: Entry, section: str) -> list[str]:
    """Names under a section, also of what could not be read: a second complaint would be no help."""
    value = entry_at(root, section).value
    if isinstance(value, dict):
        return list(value)
    return [getattr(item.value, "text", "") for item in value] if isinstance(value, list) else []


def _mutes(config: ConfigFile, report: _Report) -> None:
    if _length(report.root, "detection.mute") != len(config.detection.mute):
        return
    goals = _names_written(report.root, "goals")
    dimensions = ["all", *_names_written(report.root, "dimensions")]
    for index, mute in enumerate(config.detection.mute):
        path = f"detection.mute[{index}]"
        if mute.goal is not None and mute.goal not in goals:
            remedy = f"write one of {', '.join(goals)}"
            report.add(f"{path}.goal", f"there is no goal {mute.goal}", remedy)
        if mute.dimension is not None and mute.dimension not in dimensions:
            reason = f"there is no dimension {mute.dimension}"
            remedy = f"write one of {', '.join(dict.fromkeys(dimensions))}"
            report.add(f"{path}.dimension", reason, remedy)
