import json

import pytest
from click.testing import CliRunner

from streams.cli import cli

GOOD = """\
kafka: {bootstrap_servers: embedded}
windows: [5m, 24h]
dimensions: {device: , brand: {max_values: 20}}
goals:
  purchase: {match: {event: purchase}, revenue: value}
  pricing: {kind: micro, match: {event: [click, tap], properties.link: pricing}}
"""
BAD = """\
windos: [1m]
goals:
  visit: {match: {event: page_view}}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def _write(text):
        (tmp_path / "monitor.yaml").write_text(text, "utf-8")

    return _write


def run(*args, **options):
    return CliRunner().invoke(cli, ["check-config", *args], **options)


def test_a_good_config_is_summed_up_in_aligned_columns(write):
    write(GOOD)
    result = run("monitor.yaml")
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "good: monitor.yaml",
        "kafka       clickstream on the embedded broker, group conversion-monitor",
        "windows     5m   60 panes of 5s",
        "            24h  96 panes of 15m",
        "goals       purchase  macro  event: purchase                                revenue from value",
        "            pricing   micro  event: [click, tap], properties.link: pricing",
        "dimensions  device  field device            50 values at most",
        "            brand   field properties.brand  20 values at most",
        "note: privacy.salt is empty: hashes of visitor ids can be guessed; set it to a secret",
    ]


def test_without_dimensions_there_is_no_such_line(write):
    write("goals: {purchase: {match: {event: purchase}}}")
    assert "dimensions" not in run("monitor.yaml").output


def test_every_problem_is_a_line_and_its_remedy_below(write):
    write(BAD)
    result = run("monitor.yaml")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines()[:2] == [
        "monitor.yaml:1: windos: unknown key",
        "    → did you mean windows?",
    ]
    assert "monitor.yaml:3: goals.visit.match: a macro goal cannot be a view or a click" in result.stderr
    assert result.stderr.splitlines()[-1] == "2 problems"


def test_colours_are_for_terminals_only(write):
    write(BAD)
    assert "\x1b[" not in run("monitor.yaml").output
    assert "\x1b[31m" in run("monitor.yaml", color=True).output


def test_json_of_a_good_config(write):
    write(GOOD)
    result = run("monitor.yaml", "--json")
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert summary["ok"] is True
    assert summary["windows"][0] == {"name": "5m", "length_ms": 300_000, "pane_ms": 5_000, "panes": 60}
    assert summary["goals"][1]["match"] == {"event": ["click", "tap"], "properties.link": ["pricing"]}
    assert summary["dimensions"][1] == {"name": "brand", "field": "properties.brand", "max_values": 20}


def test_json_of_a_bad_config(write):
    write(BAD)
    result = run("monitor.yaml", "--json")
    assert result.exit_code == 2
    found = json.loads(result.stdout)
    assert found["ok"] is False
    assert found["problems"][0] == {
        "line": 1,
        "key": "windos",
        "reason": "unknown key",
        "remedy": "did you mean windows?",
    }


def test_a_file_that_is_not_there_is_told(write):
    result = run("nope.yaml")
    assert result.exit_code == 2
    assert "nope.yaml: (file): cannot be read: No such file or directory" in result.stderr


def test_the_environment_fills_references(write):
    write("privacy: {salt: '${MONITOR_SALT}'}\ngoals: {purchase: {match: {event: purchase}}}")
    assert run("monitor.yaml", env={"MONITOR_SALT": None}).exit_code == 2
    assert run("monitor.yaml", env={"MONITOR_SALT": "x"}).exit_code == 0


@pytest.mark.parametrize(
    ("line", "note"),
    [("http: {host: 0.0.0.0}", "http.public_url is not set"), ("clock: event", "numbers stand still")],
)
def test_what_deserves_a_thought_is_noted(write, line, note):
    write(f"{line}\ngoals: {{purchase: {{match: {{event: purchase}}}}}}")
    assert note in run("monitor.yaml").output


@pytest.mark.parametrize("name", ["check-config", "schema"])
def test_help_shows_an_example(name):
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert f"  conversion-monitor {name} " in result.output


@pytest.mark.parametrize("what", ["event", "config"])
def test_schema_prints_json(what):
    result = CliRunner().invoke(cli, ["schema", what])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_schema_of_something_else_is_wrong_usage():
    assert CliRunner().invoke(cli, ["schema", "alert"]).exit_code == 2
