"""The layers of docs/architecture.md, read off the source: who may import whom, who may read a clock."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
MODULES = sorted(path for package in ("monitor", "streams") for path in (PROJECT / package).rglob("*.py"))
MONITOR = [path for path in MODULES if path.relative_to(PROJECT).parts[0] == "monitor"]

#: What the meaning must not know: the Kafka side and everything that speaks Kafka, HTTP or a terminal.
NOT_IN_MONITOR = {
    "streams",
    "faust",
    "mode",
    "aiokafka",
    "kafka",
    "aiohttp",
    "click",
    "rich",
    "asyncio",
    "tests",
}
#: What reads a clock, or waits for one; those that measure a duration are meant too: time is a parameter.
CLOCKS = {
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}
MAX_LINES = 300


def name_of(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported, also inside functions and by name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, ("." * node.level + (node.module or ""))
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func)
            if called in ("importlib.import_module", "import_module", "__import__"):
                yield node.lineno, str(node.args[0].value)


def clock_readings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of everything that reads a clock; a clock that is passed on is one too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value).rpartition(".")[2]
            if node.attr in CLOCKS.get(owner, ()):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from ((node.lineno, f"from time import {alias.name}") for alias in node.names)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_the_modules_are_found() -> None:
    assert {"monitor/rules.py", "monitor/shard.py", "streams/events.py"} <= set(map(name_of, MODULES))


@pytest.mark.parametrize("path", MONITOR, ids=name_of)
def test_the_meaning_knows_nothing_of_kafka(path: Path) -> None:
    found = [
        f"{line}: {name}" for line, name in imports(parsed(path)) if name.split(".")[0] in NOT_IN_MONITOR
    ]
    assert not found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_collector_knows_prometheus(path: Path) -> None:
    if name_of(path) == "monitor/metrics.py":
        return
    found = [
        f"{line}: {name}" for line, name in imports(parsed(path)) if name.startswith("prometheus_client")
    ]
    assert not found


@pytest.mark.parametrize("path", MONITOR, ids=name_of)
def test_the_meaning_reads_no_clock(path: Path) -> None:
    assert not [f"{line}: {text}" for line, text in clock_readings(parsed(path))]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_name_the_whole_module(path: Path) -> None:
    assert not [f"{line}: {name}" for line, name in imports(parsed(path)) if name.startswith(".")]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_short_or_says_why_not(path: Path) -> None:
    """The reason stands in its docstring, in a sentence like `Longer than 300 lines because …`."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    doc = ast.get_docstring(parsed(path)) or ""
    assert lines <= MAX_LINES or "300 lines" in doc, f"{lines} lines, and the docstring gives no reason"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(parsed(path))


# --- the test itself --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "import faust",
        "import aiokafka.structs as s",
        "from streams import events",
        "def f():\n    from streams.events import Event",
        "import importlib\nimportlib.import_module('streams.events')",
        "if TYPE_CHECKING:\n    import kafka",
    ],
)
def test_a_forbidden_import_is_found_wherever_it_hides(source: str) -> None:
    assert any(name.split(".")[0] in NOT_IN_MONITOR for _, name in imports(ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.time()",
        "import datetime\ndatetime.datetime.now(datetime.UTC)",
        "from datetime import datetime\ndatetime.utcnow()",
        "from datetime import date\ndate.today()",
        "from time import time",
        "import time\nclock = time.monotonic",
    ],
)
def test_a_clock_is_found_wherever_it_hides(source: str) -> None:
    assert list(clock_readings(ast.parse(source)))
