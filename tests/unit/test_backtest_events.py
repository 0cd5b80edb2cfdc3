"""`backtest --events`: the detectors live and in the backtest see the same, and bad files are told of."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from monitor.minutes import MINUTE_MS
from monitor.shard import Shard
from monitor.watch import Watch
from streams import backtest_events
from streams.backtest_events import Replay
from streams.commands.backtest import command
from streams.errors import ConfigError, MonitorError
from streams.event_files import Screen
from streams.events import Decoder
from streams.mapping import Mapper
from streams.rows import Bad
from streams.settings import Settings, parse_settings
from streams.sources import Source
from streams.traffic import Outage, Profile, Shop
from streams.watcher import config_of
from tests import product

CONFIG = """\
clock: wall
windows: [1m, 5m]
dimensions: [device]
goals: {purchase: {kind: macro, match: {event: purchase}}}
"""
#: A whole hour, epoch ms.
BEGIN = 1_763_769_600_000
BREAKS, MENDED, END = BEGIN + 90 * MINUTE_MS, BEGIN + 130 * MINUTE_MS, BEGIN + 165 * MINUTE_MS


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    """Nearly three hours of a shop whose checkout is broken on mobile for 40 minutes; no visitor changes the device."""
    outage = Outage(BREAKS, MENDED)
    shop = Shop(Profile(rate=6.0, visitors=5_000, day_ms=86_400_000, outage=outage), BEGIN - 120_000, 3)
    shop.until(BEGIN)
    return [{**e, "visitor_id": f"{e['visitor_id']} {e['device']}"} for e in shop.until(END)]


@pytest.fixture(scope="module")
def settings() -> Settings:
    return parse_settings(CONFIG, {})


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "monitor.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def lines(path: Path, events: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(e) + "\n" for e in events), encoding="utf-8")
    return path


def replay(settings: Settings, path: Path) -> tuple[list[dict[str, Any]], Replay]:
    found = Replay(settings, Mapper(), config_of(settings))
    _, result = found.run([Source(str(path), path)])
    return result.records, found


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(command, [str(a) for a in args])


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, settings: Settings, events: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    records, _ = replay(settings, lines(tmp_path_factory.mktemp("shop") / "events.jsonl", events))
    return records


def test_the_outage_is_one_alert_on_mobile(undisturbed: list[dict[str, Any]]) -> None:
    assert len({r["alert_id"] for r in undisturbed}) == 1
    first, last = undisturbed[0], undisturbed[-1]
    assert (first["state"], last["state"]) == ("firing", "resolved")
    assert last["segments"][0]["value"] == "mobile"
    assert abs(first["onset_at"] * 1000 - BREAKS) <= 10 * MINUTE_MS
    assert last["series"] in ("all", "device=mobile")


def test_records_are_those_of_a_worker_that_reads_the_same_events_tick_by_tick(
    settings: Settings, events: list[dict[str, Any]], undisturbed: list[dict[str, Any]]
) -> None:
    """As a worker: small batches, counts told after each, minutes judged as they close."""
    rules = replace(settings.rules, clock="event")
    shard, decoder, watch = Shard(rules, b"other salt"), Decoder(rules), Watch(rules, config_of(settings), 1)
    records: list[dict[str, Any]] = []
    for begin in range(0, len(events), 500):
        values = [json.dumps(e).encode() for e in events[begin : begin + 500]]
        shard.apply(decoder.decode(values, product.FAR).events, product.FAR)
        news = sorted(shard.minutes.untold)
        shard.minutes.untold.clear()
        counted = shard.evaluate(shard.watermark_ms)
        watch.put(0, shard.watermark_ms, counted.segments, shard.minutes.packed(news), {})
        records += watch.judge(None)
    told = (
        "alert_id",
        "state",
        "raised_at",
        "onset_at",
        "resolved_at",
        "probability",
        "lost_conversions",
        "segments",
    )
    live = [{name: r[name] for name in told} for r in records]
    assert live == [{name: r[name] for name in told} for r in undisturbed][: len(live)]
    assert len(live) >= 2


def test_the_size_of_batches_changes_nothing(
    tmp_path: Path,
    settings: Settings,
    events: list[dict[str, Any]],
    undisturbed: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backtest_events, "BATCH", 100)
    assert replay(settings, lines(tmp_path / "e.jsonl", events))[0] == undisturbed


def test_several_files_and_csv_with_a_mapping_give_the_same(
    tmp_path: Path, events: list[dict[str, Any]], config: Path, undisturbed: list[dict[str, Any]]
) -> None:
    half = len(events) // 2
    names = ["what", "who", "when", "device", "event_id", "producer"]
    for path, part in ((tmp_path / "1.csv", events[:half]), (tmp_path / "2.csv", events[half:])):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            for e in part:
                bought = "order" if e["event"] == "purchase" else e["event"]
                rest = [e.get(k, "") for k in ("device", "event_id", "producer")]
                writer.writerow([bought, e["visitor_id"], e["timestamp"], *rest])
    out, plot = tmp_path / "alerts.jsonl", tmp_path / "p.svg"
    mapping = ["--map", "event=what", "--map", "visitor_id=who", "--map", "timestamp=when"]
    mapping += ["--rename", "event=order:purchase"]
    files = ["--events", tmp_path / "1.csv", "--events", tmp_path / "2.csv"]
    result = run(*files, "--config", config, *mapping, "--out", out, "--plot", plot)
    assert result.exit_code == 0, result.output
    assert [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] == undisturbed
    assert result.output.splitlines()[0].split()[:2] == ["series", "goal"]
    assert "firing" in result.output
    assert plot.read_text(encoding="utf-8").startswith("<?xml")


def test_bad_lines_are_told_with_their_number_and_the_others_count(
    tmp_path: Path,
    settings: Settings,
    events: list[dict[str, Any]],
    config: Path,
    undisturbed: list[dict[str, Any]],
) -> None:
    path = lines(tmp_path / "e.jsonl", events)
    good = path.read_bytes().splitlines(keepends=True)
    ahead = json.dumps({**events[0], "timestamp": 4_000_000_000_000}).encode() + b"\n"
    path.write_bytes(b"".join([b"{cut\n", *good[:10], b"\xff\n", ahead, b"[]\n", *good[10:]]))
    records, found = replay(settings, path)
    assert records == undisturbed
    assert {(b.line, b.reason.split(":")[0]) for b in found.tally.bad_rows} == {
        (1, "not JSON"),
        (12, "not JSON"),
        (13, "in_future"),
        (14, "not a JSON object"),
    }
    result = run("--events", path, "--config", config)
    assert result.exit_code == 0
    assert f"{path}:12: not JSON" in result.output
    assert f"4 of {len(events) + 4:,} rows were left out" in result.output


def test_a_bad_line_with_the_number_of_an_emoji_keeps_its_number(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen([], "counting", quiet=False) as screen:
        screen.bad(Bad("e.csv", 100, "not JSON"))
    assert "e.csv:100: not JSON" in capsys.readouterr().err


def test_disorder_beyond_the_lateness_is_counted_and_told(
    tmp_path: Path, events: list[dict[str, Any]], config: Path
) -> None:
    early, rest = events[:25], events[25:]
    path = lines(tmp_path / "e.jsonl", [*rest, *early])
    result = run("--events", path, "--config", config, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert told["events"]["late"] == 25
    assert told["events"]["counted"] + told["events"]["repeated"] == len(rest)
    assert any(n.startswith("25 of") and "sort the files by time" in n for n in told["notes"])


def test_a_repeated_event_id_counts_once(
    tmp_path: Path, settings: Settings, events: list[dict[str, Any]], undisturbed: list[dict[str, Any]]
) -> None:
    marked = [{**e, "event_id": str(i)} for i, e in enumerate(events)]
    twice = [e for e in marked for _ in range(2)]
    records, found = replay(settings, lines(tmp_path / "e.jsonl", twice))
    assert found.tally.repeated == len(events)
    assert len(records) >= 2
    assert records[0]["alert_id"] == undisturbed[0]["alert_id"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"none of 0 rows is an event"),
        ('{"visitor_id": "a"}\n', r"none of 1 rows.*line 1 of .*missing_field"),
        ('{"event": "a", "visitor_id": "a", "timestamp": 1763769600000}\n', r"less than two whole minutes"),
        (
            '{"event": "a", "visitor_id": "a", "timestamp": 1000000000000}\n'
            '{"event": "a", "visitor_id": "a", "timestamp": 1763769600000}\n',
            r"event times span 24 years",
        ),
    ],
)
def test_a_file_that_cannot_be_judged_is_an_error_with_a_remedy(
    tmp_path: Path, settings: Settings, text: str, message: str
) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MonitorError, match=message) as caught:
        replay(settings, path)
    assert caught.value.remedy


def test_a_file_that_is_not_there_is_an_error_of_the_command(tmp_path: Path, config: Path) -> None:
    result = run("--events", tmp_path / "none.jsonl", "--config", config)
    assert isinstance(result.exception, ConfigError)
    assert "none.jsonl" in str(result.exception)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--events", "e.jsonl"], "--events needs --config"),
        (["--series", __file__, "--events", "e.jsonl"], "one of --series and --events"),
        (["--series", __file__, "--map", "event=what"], "go with --events"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(args: list[str], message: str) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert message in result.output
