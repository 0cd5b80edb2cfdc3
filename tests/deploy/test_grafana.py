"""deploy/grafana: up to date, the linter's rules, every query of every panel against a real Prometheus."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import leave_out
from tests.deploy.servers import Prometheus
from tests.deploy.tools import DASHBOARDS, DEPLOY, in_tools, panels, read_yaml, run, said

HERE = DEPLOY / "grafana"
BOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS}
PANELS = [
    pytest.param(board, panel, id=f"{uid}: {panel['title']}")
    for uid, board in BOARDS.items()
    for panel in panels(board)
]


@pytest.mark.deploy
def test_committed_dashboards_are_what_build_py_builds() -> None:
    done = run("python", HERE / "build.py", "--check")
    assert done.returncode == 0, said(done)


def test_the_three_boards_link_to_each_other_by_their_tag() -> None:
    assert set(BOARDS) == {"conversion-overview", "conversion-segments", "conversion-pipeline"}
    for uid, board in BOARDS.items():
        assert board["uid"] == uid
        [link] = board["links"]
        assert link["type"] == "dashboards"
        assert set(link["tags"]) <= set(board["tags"])
        assert link["includeVars"]
        assert link["keepTime"]


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_board_follows_the_rules_of_the_dashboard_linter(board: dict[str, Any]) -> None:
    assert board["editable"] is False
    assert board["title"]
    assert board["description"]
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    for name, variable in variables.items():
        assert variable["label"], name
        if variable["type"] == "query":
            assert variable["datasource"]["uid"] == "${datasource}", name
            assert variable["refresh"] == 2, f"{name} is read again when the time range changes"
    places = {(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels(board)}
    assert len(places) == len(list(panels(board))), "two panels at one place"
    assert len({p["id"] for p in board["panels"]}) == len(board["panels"])


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_panel_follows_the_rules_of_the_dashboard_linter(
    board: dict[str, Any], panel: dict[str, Any]
) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for target in panel["targets"]:
        expr = target["expr"]
        assert target["datasource"]["uid"] == "${datasource}"
        assert 'job="$job"' in expr, "a query without the monitor's job mixes monitors"
        for counter in re.findall(r"\b\w+_total\b[^\[]*(\[[^\]]*\])?", expr):
            assert counter == "[$__rate_interval]", "a counter only as a rate over $__rate_interval"
        for span in re.findall(r"\b(?:rate|increase|irate|deriv)\([^()]*\[([^\]]+)\]", expr):
            assert span == "$__rate_interval"
        if panel["type"] != "table":
            assert "{{" in target["legendFormat"] or target["legendFormat"] or len(panel["targets"]) == 1
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs)
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(panel))) - {"__rate_interval", "__all"}
    assert used <= {variable["name"] for variable in board["templating"]["list"]}


def test_provisioning_fits_the_dashboards() -> None:
    [provider] = read_yaml(HERE / "provisioning" / "dashboards" / "conversion.yml")["providers"]
    [source] = read_yaml(HERE / "provisioning" / "datasources" / "prometheus.yml")["datasources"]
    assert provider["allowUiUpdates"] is False
    assert source["type"] == "prometheus"
    compose = read_yaml(DEPLOY.parent / "docker-compose.yml")["services"]["grafana"]
    mounts = [volume.split(":") for volume in compose["volumes"]]
    assert ["./deploy/grafana/dashboards", provider["options"]["path"], "ro"] in mounts
    assert ["./deploy/grafana/provisioning", "/etc/grafana/provisioning", "ro"] in mounts
    interval = read_yaml(DEPLOY / "prometheus" / "prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval


# -- queries --


def chosen(board: dict[str, Any], prometheus: Prometheus) -> dict[str, str]:
    """Variable → the value that Grafana would put in, found as Grafana finds it."""
    values: dict[str, str] = {}
    for variable in board["templating"]["list"]:
        name = variable["name"]
        if variable["type"] == "datasource":
            continue
        if variable["type"] == "custom":
            assert variable["current"]["value"] in variable["query"].split(",")
            values[name] = variable["current"]["value"]
            continue
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert found, variable
        options = prometheus.label_values(found[2], filled(found[1], values))
        current = variable.get("current", {}).get("value")
        if current == "$__all":
            values[name] = variable["allValue"]
            continue
        assert options, f"variable {name} has no value: {variable['query']['query']}"
        assert current is None or current in options, f"default {current} of {name} is none of {options}"
        values[name] = current or options[0]
    return values


def filled(expr: str, values: dict[str, str]) -> str:
    """An expression with its variables put in."""
    expr = expr.replace("$__rate_interval", "8s")
    for name, value in values.items():
        expr = re.sub(rf"\$\{{?{name}\b\}}?", lambda _, value=value: value, expr)
    assert "$" not in expr, f"a variable is left: {expr}"
    return expr


#: What only a worker with detectors exposes.
DETECTION = (
    r"conversion_(rate_expected_ratio|detector_state|alert_active|lost_conversions|alert_probability_ratio)"
)


def leave_out_without_detection(prometheus: Prometheus) -> None:
    if not prometheus.query("conversion_detector_state"):
        leave_out("the worker exposes nothing of its detectors")


def problems(board: dict[str, Any], panel: dict[str, Any], prometheus: Prometheus) -> Iterator[str]:
    """What is wrong with the answers to a panel's queries: errors, and answers without a number."""
    values = chosen(board, prometheus)
    repeat = panel.get("repeat")
    every = [values]
    if repeat:
        metric = f'conversion_converters{{job="{values["job"]}"}}'
        every = [values | {repeat: value} for value in prometheus.label_values(repeat, metric)]
        assert every, f"nothing to repeat over: {repeat}"
    for chosen_values in every:
        for target in panel["targets"]:
            expr = filled(target["expr"], chosen_values)
            try:
                answer = prometheus.query(expr) if target.get("instant") else prometheus.query_range(expr)
            except AssertionError as error:
                yield f"{target['refId']}: {expr}: {error}"
                continue
            numbers = [v for series in answer for _, v in series.get("values", [series.get("value")])]
            if not any(not math.isnan(float(number)) for number in numbers):
                yield f"{target['refId']}: no answer: {expr}"


@pytest.mark.deploy
@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_every_query_of_a_panel_answers(
    board: dict[str, Any], panel: dict[str, Any], scraping: Prometheus
) -> None:
    found = list(problems(board, panel, scraping))
    about_detection = [problem for problem in found if re.search(DETECTION, problem)]
    if about_detection and found == about_detection:
        leave_out_without_detection(scraping)
    assert found == []


@pytest.mark.deploy
@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_the_annotation_of_a_board_is_a_valid_query(board: dict[str, Any], scraping: Prometheus) -> None:
    values = chosen(board, scraping)
    for annotation in board["annotations"]["list"]:
        scraping.query_range(filled(annotation["expr"], values))
        leave_out_without_detection(scraping)
        # It is empty while all is well; without its comparison it must not be.
        assert scraping.query(filled(annotation["expr"].removesuffix(" == 1"), values))


@pytest.mark.deploy
@pytest.mark.parametrize(
    "damage", [("conversion_rate_ratio", "conversion_rate_ration"), ("max by", "maxx by")]
)
def test_a_planted_error_in_a_panel_is_caught(damage: tuple[str, str], scraping: Prometheus) -> None:
    board = BOARDS["conversion-overview"]
    [panel] = [p for p in panels(board) if p["title"] == "Conversion rate now"]
    broken = json.loads(json.dumps(panel).replace(*damage))
    assert broken != panel
    assert list(problems(board, panel, scraping)) == []
    assert len(list(problems(board, broken, scraping))) == 1


@pytest.mark.deploy
def test_every_expression_parses_with_another_parser() -> None:
    exprs = [t["expr"] for board in BOARDS.values() for panel in panels(board) for t in panel["targets"]]
    plain = [re.sub(r"\$\w+", "x", re.sub(r"\[\$\w+\]", "[20s]", e)) for e in exprs]
    code = """
import promql_parser
answer = []
for expr in arguments[0]:
    try:
        promql_parser.parse(expr)
    except Exception as error:
        answer.append(f"{expr}: {error}")
"""
    assert in_tools(code, plain) == []
