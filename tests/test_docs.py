"""What the documents say is so: commands and options exist, snippets parse, names and links lead home."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import pytest
from ruamel.yaml import YAML

from monitor.counters import PipelineCounters
from monitor.families import business_families, pipeline_families
from monitor.shard import Shard
from monitor.snapshot import ALL, DetectionRow, GoalCounts, Row, Snapshot, limit_series
from monitor.totals import Totals
from streams.cli import cli
from streams.events import Decoder
from streams.settings import Settings, load_settings, parse_settings

PROJECT = Path(__file__).resolve().parent.parent
README = PROJECT / "README.md"
DOCUMENTS = [README, PROJECT / "CHANGELOG.md", *sorted((PROJECT / "docs").glob("*.md"))]
PROGRAM = "conversion-monitor"
#: Stands in where a snippet shows only the part it is about.
SOME_GOAL = "goals: {purchase: {kind: macro, match: {event: purchase}}}\n"


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a document."""

    path: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.path.relative_to(PROJECT)}:{self.line}"


def snippets(text: str, path: Path) -> Iterator[Snippet]:
    """The fenced blocks of a Markdown text."""
    opened: tuple[int, str] | None = None
    body: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.fullmatch(r"\s*```(\w*)\s*", line)
        if fence is None:
            body.append(line)
        elif opened is None:
            opened, body = (number, fence[1]), []
        else:
            yield Snippet(path, *opened, "\n".join(body) + "\n")
            opened = None
    assert opened is None, f"{path.name}:{opened}: the block is never closed"


ALL_SNIPPETS = [s for path in DOCUMENTS for s in snippets(path.read_text(encoding="utf-8"), path)]


def in_language(*languages: str) -> list[Any]:
    return [pytest.param(s, id=s.name) for s in ALL_SNIPPETS if s.language in languages]


def commands(shell: str) -> Iterator[list[str]]:
    """Every simple command of a shell text, as words; comments are left out."""
    for line in re.sub(r"\\\n\s*", " ", shell).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word.strip("|&;"):
                words.append(word)
            elif words:
                yield words
                words = []


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def check_command(words: list[str]) -> None:
    """Fails unless the words are a command of ours with arguments that it takes; other programs pass."""
    name = words[0].rpartition("/")[2]
    if name == "make":
        assert set(words[1:]) <= make_targets(), words
    if name != PROGRAM:
        return
    with click.Context(cli, info_name=PROGRAM) as parent:
        command = cli.get_command(parent, words[1])
        assert command is not None, f"there is no command {words[1]}"
        command.make_context(words[1], words[2:], parent=parent)  # raises on unknown options and bad values


@pytest.mark.parametrize("snippet", in_language("sh", "bash", "console"))
def test_every_command_exists_and_takes_its_options(
    snippet: Snippet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in commands(snippet.text):
        for name in words[1:]:
            if re.fullmatch(r"[\w-]+\.(csv|jsonl|yaml)", name):
                Path(name).touch()  # a command may refuse a file that is not there
        check_command(words)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_in_the_text_exists(path: Path) -> None:
    for code in re.findall(r"`((?:make|conversion-monitor) [^`]+)`", path.read_text(encoding="utf-8")):
        words = shlex.split(code)
        if words[0] == PROGRAM:
            assert cli.get_command(click.Context(cli), words[1]) is not None, code
        else:
            assert words[1] in make_targets(), code


def settings_of(text: str) -> Settings:
    whole = text if re.search(r"^goals:", text, re.MULTILINE) else text + SOME_GOAL
    return parse_settings(whole, {"MONITOR_SALT": "s", "KAFKA_PASSWORD": "p"})


@pytest.mark.parametrize("snippet", in_language("yaml"))
def test_every_config_can_be_used(snippet: Snippet) -> None:
    data = YAML(typ="safe").load(snippet.text)
    if "scrape_configs" in data:
        for job in data["scrape_configs"]:
            assert job["job_name"] == PROGRAM
            assert all(":" in target for config in job["static_configs"] for target in config["targets"])
        return
    settings_of(snippet.text)


@pytest.mark.parametrize("path", sorted((PROJECT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_can_be_used(path: Path) -> None:
    environ = {"KAFKA_PASSWORD": "p", "MONITOR_SALT": "s", "POD_NAME": "pod-0"}
    assert load_settings(path, environ).rules.goals


# --- the first steps of the README ------------------------------------------------------------------------


def the_first_config() -> Settings:
    return settings_of(next(s.text for s in ALL_SNIPPETS if s.path == README and s.language == "yaml"))


def test_the_first_events_give_what_the_readme_says() -> None:
    rules = the_first_config().rules
    lines = next(s.text for s in ALL_SNIPPETS if s.path == README and s.language == "json").encode()
    now = 1_800_000_000_000
    decoded = Decoder(rules).decode(lines.splitlines(), now)
    assert not decoded.rejected
    shard, totals = Shard(rules), Totals(rules, 1)
    shard.apply(decoded.events, now)
    totals.put(0, shard.evaluate())
    rows = {(r.dimension, r.value): r for r in totals.snapshot().rows if r.window == "5m"}
    whole, mobile = rows["all", "all"], rows["device", "mobile"]
    assert (whole.visitors, whole.goals["purchase"].converters) == (3, 1)
    assert (mobile.visitors, mobile.goals["purchase"].converters) == (2, 1)
    assert str(whole.goals["purchase"].revenue["EUR"]) == "49.90"


def event(name: str, visitor: int, at_s: int) -> bytes:
    told = {"event": name, "visitor_id": f"v{visitor}", "timestamp": 1_750_000_000_000 + at_s * 1_000}
    return json.dumps(told).encode()


def test_the_last_seen_rule_gives_what_the_readme_says() -> None:
    """100 visitors in 30 minutes, 10 of them in the last 5, 5 of those buy: 50 % and 5 %."""
    rules = settings_of("windows: [5m, 30m]\nclock: event\n").rules
    values = [event("page_view", v, v * 10) for v in range(100)]
    values += [event("page_view", v, 1_500 + v) for v in range(10)]
    values += [event("purchase", v, 1_600 + v) for v in range(5)]
    shard, totals = Shard(rules), Totals(rules, 1)
    shard.apply(Decoder(rules).decode(values, 1_800_000_000_000).events, 1_800_000_000_000)
    totals.put(0, shard.evaluate())
    found = {r.window: (r.goals["purchase"].converters, r.visitors) for r in totals.snapshot().rows}
    assert found == {"5m": (5, 10), "30m": (5, 100)}


@pytest.mark.parametrize("snippet", in_language("json"))
def test_every_event_is_one(snippet: Snippet) -> None:
    decoded = Decoder(the_first_config().rules).decode(
        [line.encode() for line in snippet.text.splitlines()], 4_000_000_000_000
    )
    assert decoded.events
    assert not decoded.rejected


# --- names ------------------------------------------------------------------------------------------------


def metric_names() -> set[str]:
    """Every name that a worker can expose."""
    counters = PipelineCounters(last_checkpoint=1.0)
    counters.watermark[0] = counters.committed_offset[0] = counters.consumer_lag[0] = 1
    row = Row("5m", ALL, ALL, 2, 2, {"purchase": GoalCounts(1, 1, 1)})
    alerts = {"rate_drop": True}
    detection = DetectionRow("purchase", ALL, ALL, expected=0.5, alerts=alerts, probability=0.5)
    limited = limit_series(Snapshot(1.0, True, (row,), (), (detection,)), 1_000)
    names = set()
    for family in (*pipeline_families(counters, holds_totals=True), *business_families(limited)):
        names.add(family.name)
        names |= {family.name + suffix for suffix, _, _ in family.samples}
    return names | {"conversion_revenue"}  # has a sample only where there is money


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_metric_exists(path: Path) -> None:
    named = set(re.findall(r"(?<![\w./-])conversion_[a-z_]+[a-z]\b(?!\.)", path.read_text(encoding="utf-8")))
    assert named <= metric_names()


def test_the_readme_names_every_number_of_a_row() -> None:
    business = {"visitors", "sessions", "converters", "conversions", "converting_sessions", "rate_ratio"}
    business |= {"session_rate_ratio", "rate_lower_ratio", "rate_upper_ratio", "revenue"}
    text = README.read_text(encoding="utf-8")
    assert not {name for name in business if f"`conversion_{name}`" not in text}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_module_named_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:monitor|streams|tests|examples|deploy|docs)/[\w./-]*)`", text))
    assert not {name for name in named if not (PROJECT / name).exists()}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_setting_named_exists(path: Path) -> None:
    """`kafka.…` and its like, as the config file writes them."""
    text = path.read_text(encoding="utf-8")
    sections = {"kafka": the_first_config().kafka, "http": the_first_config().http}
    for section, key in re.findall(r"`(kafka|http)\.(\w+)[`:]", text):
        assert hasattr(sections[section], key), f"{section}.{key}"


# --- links ------------------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """Anchors of a document's headings, as they are linked."""
    found = re.findall(r"^#{1,6} +(.+?) *$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'\bsrc(?:set)?="([^"]+)"', text)
    for target in found:
        if re.match(r"https?:", target):
            continue
        file, _, anchor = unquote(target).partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_the_picture_can_be_read_aloud_and_in_the_dark() -> None:
    root = ET.parse(PROJECT / "docs" / "img" / "dataflow.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert root.findtext(f"{space}title")
    assert root.findtext(f"{space}desc")
    assert "prefers-color-scheme: dark" in (root.findtext(f"{space}style") or "")


# --- the project's own files ------------------------------------------------------------------------------


def pyproject() -> dict[str, Any]:
    data: dict[str, Any] = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return data


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def test_the_lock_pins_every_dependency_at_or_above_its_lower_bound() -> None:
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    normal = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins}
    project = pyproject()
    optional = project["optional-dependencies"].values()
    for wanted in (*project["dependencies"], *chain.from_iterable(optional)):
        name, _, lowest = re.sub(r"\[.*?\]", "", wanted).partition(">=")
        pinned = normal[re.sub(r"[-_.]+", "-", name).lower()]
        assert numbers(pinned) >= numbers(lowest), wanted


def test_the_changelog_knows_this_version_or_what_comes() -> None:
    text = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[(Unreleased|{re.escape(pyproject()['version'])})\]", text, re.MULTILINE)
    assert "Apache License" in (PROJECT / "LICENSE").read_text(encoding="utf-8")


# --- the test itself --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        f"{PROGRAM} fly",
        f"{PROGRAM} run --config a.yaml --no-such-option",
        f"cat a | {PROGRAM} publish - --map visitor_id",
        f"VENV/bin/{PROGRAM} check-config",
    ],
)
def test_a_command_that_does_not_work_is_found(line: str) -> None:
    *_, words = commands(line)
    with pytest.raises((AssertionError, click.UsageError)):
        check_command(words)


def test_commands_are_told_apart() -> None:
    shell = "a -b 'c d' | e && f \\\n  g # h\n\ni"
    assert list(commands(shell)) == [["a", "-b", "c d"], ["e"], ["f", "g"], ["i"]]
    assert [s.language for s in snippets("```sh\na\n```\n\n```\nb\n```\n", README)] == ["sh", ""]
    assert all(a.line < b.line for a, b in pairwise(ALL_SNIPPETS) if a.path == b.path)
