"""Everything that can be told to a person as an error.

```
MonitorError          what went wrong and what to do; ends a command with exit code 1
├── ConfigError       the config file or a command's options; exit code 2; carries every Problem found
├── BrokerError       no broker there, or it does not do what is needed
├── TopicError        a topic is missing or has the wrong shape
├── StateError        stored state cannot be read (unknown version, other partition count)
├── PortError         a port is in use
└── CommandError      what an operator says is no command; exit code 2
```
"""

from __future__ import annotations

from dataclasses import dataclass


class MonitorError(Exception):
    """Root of all errors of conversion-monitor: a message that names the thing, and a remedy.

    Attributes:
        message: What is wrong, naming the thing (file, topic, port).
        remedy: What to do about it; empty if there is nothing to add.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.remedy}" if self.remedy else self.message


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a config.

    Attributes:
        line: Line of the file, from 1; None where there is no line (a missing top-level key).
        key: Dotted path of the key, e.g. `goals.purchase.match`.
        reason: What is wrong with it.
        remedy: What to write instead.
    """

    line: int | None
    key: str
    reason: str
    remedy: str = ""


class ConfigError(MonitorError):
    """A config file (or an option) that cannot be used; all its problems at once."""

    exit_code = 2

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        self.source = source
        self.problems = problems
        lines = []
        for p in problems:
            where = f"{source}:{p.line}" if p.line is not None else source
            tail = f" → {p.remedy}" if p.remedy else ""
            lines.append(f"{where}: {p.key}: {p.reason}{tail}")
        super().__init__("\n".join(lines))


class BrokerError(MonitorError):
    """The Kafka broker cannot be reached, or does not do what is needed."""


class TopicError(MonitorError):
    """A topic is missing, or its partitions are not what the state was made for."""


class StateError(MonitorError):
    """Stored state cannot be read: an unknown version, or made for another topic layout."""


class PortError(MonitorError):
    """A local port that is needed is in use."""


class CommandError(MonitorError):
    """What an operator says is no command, or names what does not exist."""

    exit_code = 2
