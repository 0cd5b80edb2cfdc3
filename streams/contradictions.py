"""Settings that are each fine and cannot be together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.windows import format_duration
from streams.config_detection import Detection
from streams.config_entries import Entry, Problems

if TYPE_CHECKING:
    from streams.settings import ConfigFile, Kafka

#: Topics that the worker writes to itself; reading events from one would feed it its own output.
OWN_TOPICS = ("clickstream-dead-letter", "conversion-counts", "conversion-alerts")


def find_contradictions(config: ConfigFile, root: Entry, problems: Problems) -> None:
    """Notes every contradiction of a config whose values could be read."""
    _times(config, root, problems)
    _windows(config, root, problems)
    _names(config, root, problems)
    _kafka(config.kafka, root, problems)
    _security(config.kafka, root, problems)
    _days(config.detection, root, problems)
    _mutes(config, root, problems)


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


def _add(problems: Problems, root: Entry, path: str, reason: str, remedy: str) -> None:
    """Notes a problem under the key that is meant, also if only a section above it is written.

    A key that has a problem already is left alone: its value is not what was meant.
    """
    if _bad(problems, path):
        return
    entry = entry_at(root, path)
    line = entry.line if entry is not root else None
    if line is None:
        problems.add(None, reason, remedy, key=path)
    else:
        problems.add(Entry(path, line, {}), reason, remedy)


def _bad(problems: Problems, *keys: str) -> bool:
    return any(problem.key in keys for problem in problems.found)


def _times(config: ConfigFile, root: Entry, problems: Problems) -> None:
    spread = config.allowed_lateness + config.max_in_future
    involved: tuple[str, ...] = ("allowed_lateness", "max_in_future", "session_gap")
    if spread >= config.session_gap and not _bad(problems, *involved):
        parts = f"allowed_lateness + max_in_future = {format_duration(spread)}"
        reason = f"{parts} is not less than session_gap = {format_duration(config.session_gap)}"
        path = next(
            (key for key in ("allowed_lateness", "max_in_future") if _written(root, key)), "session_gap"
        )
        remedy = "lower one of the two or raise session_gap: an event could belong to either of two sessions"
        _add(problems, root, path, reason, remedy)
    involved = ("allowed_lateness", "dedupe_window", "max_in_future", "session_gap")
    if config.dedupe_window < config.allowed_lateness and not _bad(problems, *involved):
        lateness = format_duration(config.allowed_lateness)
        path = "dedupe_window" if _written(root, "dedupe_window") else "allowed_lateness"
        shorter = f"dedupe_window = {format_duration(config.dedupe_window)} is shorter"
        reason = f"{shorter} than allowed_lateness = {lateness}, so a late repeat would count again"
        _add(problems, root, path, reason, f"set dedupe_window to {lateness} or more")


def _written(root: Entry, key: str) -> bool:
    return isinstance(root.value, dict) and key in root.value


def _windows(config: ConfigFile, root: Entry, problems: Problems) -> None:
    seen: dict[int, str] = {}
    for index, window in enumerate(config.windows):
        other = seen.setdefault(window.length_ms, window.name)
        repeated = other != window.name or [w.name for w in config.windows[:index]].count(window.name)
        if repeated:
            reason = (
                f"{window.name} is there twice" if other == window.name else f"{window.name} is {other} again"
            )
            _add(problems, root, _window_path(root, window.name), reason, "keep one of the two")


def _window_path(root: Entry, name: str) -> str:
    """Path of the last item that is written so."""
    entry = entry_at(root, "windows")
    items = entry.value if isinstance(entry.value, list) else []
    paths = [item.key for item in items if getattr(item.value, "text", "").strip() == name]
    return paths[-1] if paths else "windows"


def _names(config: ConfigFile, root: Entry, problems: Problems) -> None:
    by_field: dict[str, str] = {}
    for dimension in config.dimensions:
        other = by_field.setdefault(dimension.field, dimension.name)
        if other != dimension.name:
            reason = f"reads {dimension.field}, as {other} does"
            _add(problems, root, f"dimensions.{dimension.name}", reason, "keep one of the two")


def _kafka(kafka: Kafka, root: Entry, problems: Problems) -> None:
    if kafka.topic in OWN_TOPICS:
        reason = f"the worker writes to {kafka.topic} itself"
        _add(problems, root, "kafka.topic", reason, "name the topic that publishers send events to")
    if not kafka.embedded:
        return
    if kafka.replication_factor > 1:
        reason = f"the embedded broker is one broker and cannot keep {kafka.replication_factor} copies"
        _add(problems, root, "kafka.replication_factor", reason, "write 1")
    if kafka.security.protocol != "PLAINTEXT":
        reason = f"the embedded broker does not speak {kafka.security.protocol}"
        _add(problems, root, "kafka.security.protocol", reason, "write PLAINTEXT, or name real brokers")


def _security(kafka: Kafka, root: Entry, problems: Problems) -> None:
    security = kafka.security
    section = "kafka.security"
    for key in ("mechanism", "username", "password"):
        given = getattr(security, key) not in (None, "")
        if security.protocol.startswith("SASL") and not given:
            _add(problems, root, f"{section}.{key}", f"{security.protocol} needs a {key}", f"set {key}")
        if not security.protocol.startswith("SASL") and given:
            reason = f"{key} has no use with protocol {security.protocol}"
            _add(problems, root, f"{section}.{key}", reason, "set protocol: SASL_SSL, or delete it")
    for key in ("ca_file", "cert_file", "key_file"):
        if not security.protocol.endswith("SSL") and getattr(security, key) is not None:
            reason = f"{key} has no use with protocol {security.protocol}"
            _add(problems, root, f"{section}.{key}", reason, "set protocol: SSL or SASL_SSL, or delete it")
    for key, other in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if getattr(security, key) is not None and getattr(security, other) is None:
            _add(problems, root, f"{section}.{key}", f"{key} needs a {other}", f"set {other} too")


def _days(detection: Detection, root: Entry, problems: Problems) -> None:
    days = [day.date for day in detection.calendar]
    # Where an entry could not be read, the others no longer stand at their index.
    if _length(root, "detection.calendar") != len(days):
        return
    for index, day in enumerate(days):
        if day in days[:index]:
            path = f"detection.calendar[{index}]"
            _add(problems, root, path, f"{day} is there twice", "put factor and learn into one entry")


def _length(root: Entry, path: str) -> int:
    value = entry_at(root, path).value
    return len(value) if isinstance(value, list) else 0


def _names_written(root: Entry, section: str) -> list[str]:
    """Names under a section, also of what could not be read: a second complaint would be no help."""
    value = entry_at(root, section).value
    if isinstance(value, dict):
        return list(value)
    return [getattr(item.value, "text", "") for item in value] if isinstance(value, list) else []


def _mutes(config: ConfigFile, root: Entry, problems: Problems) -> None:
    if _length(root, "detection.mute") != len(config.detection.mute):
        return
    goals = _names_written(root, "goals")
    dimensions = ["all", *_names_written(root, "dimensions")]
    for index, mute in enumerate(config.detection.mute):
        path = f"detection.mute[{index}]"
        if mute.goal is not None and mute.goal not in goals:
            remedy = f"write one of {', '.join(goals)}"
            _add(problems, root, f"{path}.goal", f"there is no goal {mute.goal}", remedy)
        if mute.dimension is not None and mute.dimension not in dimensions:
            reason = f"there is no dimension {mute.dimension}"
            remedy = f"write one of {', '.join(dict.fromkeys(dimensions))}"
            _add(problems, root, f"{path}.dimension", reason, remedy)
