"""Every name in rules, dashboards and runbook exists: metric in the code, alert in the runbook, command."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest

from monitor.metrics import REJECTION_REASONS, ConversionCollector, PipelineCounters
from monitor.snapshot import ALERT_KINDS, DETECTOR_STATES, DetectionRow, GoalCounts, Row, Snapshot
from streams.cli import cli
from streams.settings import parse_settings
from tests.conftest import PROJECT
from tests.deploy.tools import DASHBOARDS, RULES, RUNBOOK, alerts, headings, in_tools, panels, read_yaml

#: What Prometheus itself adds to every scrape.
SCRAPED = {"up", "scrape_samples_scraped"}
#: Words of PromQL that are neither a function (those have a bracket) nor a metric.
WORDS = {
    "and",
    "or",
    "unless",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "offset",
    "bool",
    "inf",
}

STRING = r"\"(?:[^\"\\]|\\.)*\""
BRACES = rf"\{{(?:[^\"}}]|{STRING})*\}}"
#: Strings, ranges, numbers with their unit, and names with what follows them.
TOKEN = re.compile(
    rf"{STRING}|\[[^\]]*\]|\d\w*|(?P<name>[a-zA-Z_:][\w:]*)(?P<labels>{BRACES})?(?P<call> *\()?|{BRACES}"
)


def exposed() -> dict[str, set[str]]:
    """Metric → its labels, from the collector with everything in it."""
    counters = PipelineCounters(build={"version": "1"})
    counters.checkpoint_done(0.1, at=1.0)
    for by_partition in (counters.watermark, counters.committed_offset, counters.consumer_lag):
        by_partition[0] = 1
    rows = (Row("5m", "all", "all", 9, 9, {"purchase": GoalCounts(1, 1, 1, {"USD": Decimal(1)})}),)
    detection = (DetectionRow("purchase", "all", "all", 0.1, "alerting", {"stale": True}, 1.0, 0.9),)
    snapshot = Snapshot(1.0, True, rows, (), detection)
    text = ConversionCollector(lambda: snapshot, counters).exposition().decode()
    found: dict[str, set[str]] = {name: {"namespace", "job", "instance"} for name in SCRAPED}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
        found.setdefault(name, {"namespace", "job", "instance"}).update(re.findall(r"(\w+)=\"", labels))
    return found


def recorded() -> dict[str, set[str]]:
    """Recorded series → the labels that their rules keep."""
    rules = [rule for path in RULES for group in read_yaml(path)["groups"] for rule in group["rules"]]
    kept = {"namespace", "job", "goal", "dimension", "value", "kind"}
    return {rule["record"]: kept for rule in rules if "record" in rule}


KNOWN = exposed() | recorded()


def selectors(expr: str) -> Iterator[tuple[str, str]]:
    """(metric, what stands in its braces) of every selector of an expression."""
    bare = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right) *\([^)]*\)", " ", expr)
    for found in TOKEN.finditer(bare):
        if found["name"] and not found["call"] and found["name"] not in WORDS:
            yield found["name"], found["labels"] or ""


def faults(expr: str) -> list[str]:
    """Metrics and labels in an expression that do not exist, and label values that the code never sets."""
    allowed = {"kind": set(ALERT_KINDS), "state": set(DETECTOR_STATES), "reason": set(REJECTION_REASONS)}
    found = []
    for metric, inside in selectors(expr):
        if metric not in KNOWN:
            found.append(f"no metric {metric}")
            continue
        for label, operator, value in re.findall(r"(\w+) *(=~|!=|!~|=) *\"((?:[^\"\\]|\\.)*)\"", inside):
            if label not in KNOWN[metric]:
                found.append(f"{metric} has no label {label}")
            elif (
                operator in ("=", "!=")
                and label in allowed
                and "$" not in value
                and value not in allowed[label]
            ):
                found.append(f"{metric} never has {label}={value}")
    return found


def in_templates(text: str) -> Iterator[str]:
    """The queries inside an annotation's templates (not the lists of labels that they are made of)."""
    for query in re.findall(r"printf `([^`]*\{[^`]*)`", text):
        yield query.replace("=%q", '="$x"').replace(",kind=", ", kind=")


def in_rules(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """(where, expression) of every expression in rule files, those in annotations too."""
    for path in paths:
        for group in read_yaml(path)["groups"]:
            for rule in group["rules"]:
                where = f"{path.name} {rule.get('alert', rule.get('record'))}"
                yield where, rule["expr"]
                for text in rule.get("annotations", {}).values():
                    yield from ((where, query) for query in in_templates(text))


def in_boards(boards: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """(where, expression) of every expression in dashboards: panels, variables, annotations."""
    for board in boards:
        for panel in panels(board):
            yield from ((f"{board['uid']} {panel['title']}", target["expr"]) for target in panel["targets"])
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                yield (
                    f"{board['uid']} ${variable['name']}",
                    variable["query"]["query"].split("(", 1)[1].rsplit(",", 1)[0],
                )
        yield from ((f"{board['uid']} annotation", one["expr"]) for one in board["annotations"]["list"])


def blocks(text: str, language: str) -> Iterator[str]:
    """Lines of the fenced blocks of a language."""
    for block in re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield from (line for line in block.splitlines() if line)


def in_runbook(text: str) -> Iterator[tuple[str, str]]:
    """(where, expression) of every query of the runbook, and of every metric named in its sentences."""
    yield from (("a query", line) for line in blocks(text, "promql"))
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from (("a sentence", name) for name in re.findall(r"`((?:series:)?conversion_[\w:]+)`", prose))


def all_faults(expressions: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{where}: {fault}" for where, expr in expressions for fault in faults(expr)]


BOARDS = [json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS]
TEXT = RUNBOOK.read_text(encoding="utf-8")


def test_every_metric_in_the_rules_exists() -> None:
    assert len(list(in_rules(RULES))) > 40
    assert all_faults(in_rules(RULES)) == []


def test_every_metric_in_the_dashboards_exists() -> None:
    assert len(list(in_boards(BOARDS))) > 60
    assert all_faults(in_boards(BOARDS)) == []


def test_every_metric_in_the_runbook_exists() -> None:
    assert len(list(in_runbook(TEXT))) > 12
    assert all_faults(in_runbook(TEXT)) == []


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (("conversion_consumer_lag", "conversion_consumer_leg"), "no metric conversion_consumer_leg"),
        (("(conversion_series_dropped", "(convresion_series_dropped"), "no metric convresion_series_dropped"),
        (
            ("conversion_rate_expected_ratio{", "conversion_rate_expect_ratio{"),
            "no metric conversion_rate_expect_ratio",
        ),
        (
            ('kind="rate_drop"', 'kind="ratedrop"'),
            "series:conversion_alert_active:last never has kind=ratedrop",
        ),
        (("window=", "windows="), "conversion_conversions has no label windows"),
    ],
)
def test_a_planted_typo_in_a_rule_is_caught(damage: tuple[str, str], fault: str, tmp_path: Path) -> None:
    for path in RULES:
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8").replace(*damage), encoding="utf-8")
    assert any(fault in found for found in all_faults(in_rules(tmp_path.glob("*.yml"))))


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (("conversion_visitors", "conversion_visitor"), "no metric conversion_visitor"),
        (("_seconds_bucket", "_second_bucket"), "no metric conversion_event_delay_second_bucket"),
        (("process_resident_memory_bytes", "process_memory_bytes"), "no metric process_memory_bytes"),
        (("dimension=", "dimensions="), "has no label dimensions"),
    ],
)
def test_a_planted_typo_in_a_panel_is_caught(damage: tuple[str, str], fault: str) -> None:
    damaged = [json.loads(json.dumps(board).replace(*damage)) for board in BOARDS]
    assert any(fault in found for found in all_faults(in_boards(damaged)))


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (("conversion_event_delay_seconds_bucket", "conversion_events_delay_seconds_bucket"), "no metric"),
        (
            ("series:conversion_lost_conversions:per_hour", "series:conversion_lost_conversions:hourly"),
            "no metric",
        ),
        (("(conversion_holds_totals)", "(conversion_hold_totals)"), "no metric conversion_hold_totals"),
    ],
)
def test_a_planted_typo_in_the_runbook_is_caught(damage: tuple[str, str], fault: str) -> None:
    assert any(fault in found for found in all_faults(in_runbook(TEXT.replace(*damage))))


def test_every_alert_has_its_chapter_in_the_runbook_and_the_runbook_no_other() -> None:
    names = {alert["alert"] for alert in alerts()}
    anchors = headings(TEXT)
    for alert in alerts():
        file, anchor = alert["annotations"]["runbook_url"].split("#")
        assert PROJECT / file == RUNBOOK
        assert anchor == alert["alert"].lower()
        assert anchor in anchors, alert["alert"]
    assert set(re.findall(r"^### (Conversion\w+)$", TEXT, re.MULTILINE)) == names
    assert set(re.findall(r"`(Conversion[A-Z]\w+)`", TEXT)) <= names
    chapters = re.split(r"^###? ", TEXT, flags=re.MULTILINE)
    for chapter in chapters:
        if chapter.split("\n")[0] in names:
            for part in ("**Means**", "**Look first**", "**When it is false**"):
                assert part in chapter, chapter.split("\n")[0]


def test_every_alert_is_labelled_and_explained() -> None:
    for alert in alerts():
        assert alert["labels"]["area"] in ("business", "monitor")
        assert alert["labels"]["severity"] in ("critical", "warning", "info")
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
        assert alert["annotations"]["summary"].endswith(".")
        assert alert["annotations"]["description"].endswith(".")


def commands() -> list[str]:
    """Our own commands in the runbook and in docs/deploy.md, wherever they are run."""
    text = TEXT + (PROJECT / "docs" / "deploy.md").read_text(encoding="utf-8")
    inside = r"(?:^|docker compose exec worker-1 |docker compose run --rm --no-deps worker-1 )"
    lines = [re.sub(r" *\\\n *", " ", line) for line in blocks(text.replace("\\\n", ""), "sh")]
    found = [
        re.search(rf"{inside}(?:conversion-monitor )?((?:doctor|schema|check-config|publish|run)\b.*)$", x)
        for x in lines
    ]
    return [one[1] for one in found if one]


@pytest.mark.parametrize("line", commands())
def test_commands_of_the_runbook_are_accepted(line: str) -> None:
    name, *arguments = shlex.split(line)
    with click.Context(cli) as context:
        command = cli.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            command = command.get_command(context, arguments.pop(0))
            assert command is not None
        command.make_context(name, arguments, parent=context)


def test_the_replay_config_is_good() -> None:
    [block] = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    settings = parse_settings(block, {})
    assert settings.rules.clock == "event"
    assert settings.kafka.topic in "".join(commands())


@pytest.mark.deploy
def test_queries_of_the_runbook_parse() -> None:
    code = """
import promql_parser
answer = []
for expr in arguments[0]:
    try:
        promql_parser.parse(expr)
    except Exception as error:
        answer.append(f"{expr}: {error}")
"""
    assert in_tools(code, list(blocks(TEXT, "promql"))) == []
