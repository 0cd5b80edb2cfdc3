"""What an operator may publish, what he is told about mistakes, and what the holder of the totals does with it."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from click.testing import CliRunner

from streams import operator_sending, patience
from streams import watcher as module
from streams.cli import cli
from streams.errors import CommandError
from streams.operator_commands import Acknowledge, Command, Mute, Unmute, parse
from streams.watcher import Watcher
from tests.unit.test_watch import BREAKS, FIRST, LAST, MINUTES
from tests.unit.test_watcher import CONFIG, SETTINGS, Producer, tell, watcher

RULES = SETTINGS.rules
MOBILE = {"goal": "buy", "dimension": "device", "value": "mobile"}
LATE = 4_000_000_000


def read(**fields: Any) -> Command:
    return parse(orjson.dumps(fields), RULES)


def test_each_command_in_full() -> None:
    said = {"by": "Ada", "note": "we know"}
    assert read(command="acknowledge", alert_id="a1", **said) == Acknowledge(alert_id="a1", **said)
    assert read(command="mute", until=LATE, **MOBILE, **said) == Mute(until=LATE, **MOBILE, **said)
    assert read(command="unmute", **MOBILE, **said) == Unmute(**MOBILE, **said)


@pytest.mark.parametrize(
    ("until", "seconds"),
    [(1_800_000_000, 1_800_000_000), (1.5e9, 1.5e9), ("2027-01-15T08:00:00Z", 1_800_000_000),
     ("2027-01-15T09:00:00+01:00", 1_800_000_000)],
)  # fmt: skip
def test_the_end_of_a_mute(until: float | str, seconds: float) -> None:
    command = read(command="mute", goal="buy", until=until)
    assert isinstance(command, Mute)
    assert command.until_s == seconds


@pytest.mark.parametrize(
    ("value", "wrong", "remedy"),
    [
        (None, "truncated", '"alert_id"'),
        (b"", "truncated", '"alert_id"'),
        (b"\xff\xfe", "malformed", '"alert_id"'),
        (b"hello", "malformed", '"alert_id"'),
        (b"[]", "array", '"alert_id"'),
        (b"{}", "`command`", '"alert_id"'),
        (b'{"command": "silence"}', "silence", '"alert_id"'),
        (b'{"command": "acknowledge"}', "`alert_id`", '"alert_id"'),
        (b'{"command": "acknowledge", "alert_id": 5}', "`$.alert_id`", '"alert_id"'),
        (b'{"command": "acknowledge", "alert_id": "a", "x\\ny": 1}', "unknown field", '"alert_id"'),
        (b'{"command": "mute", "goal": "buy"}', "`until`", '"until"'),
        (b'{"command": "mute", "goals": "buy", "until": 5}', "`goals`", '"until"'),
        (b'{"command": "mute", "until": 5}', "no series", "goal"),
        (b'{"command": "mute", "value": "mobile", "until": 5}', "dimension", "add the dimension"),
        (b'{"command": "mute", "goal": "by", "until": 5}', "no goal by", "one of buy"),
        (b'{"command": "unmute", "dimension": "os"}', "no dimension os", "one of all, device"),
        (b'{"command": "mute", "goal": "buy", "until": "tomorrow"}', "is no time", "RFC 3339"),
        (b'{"command": "mute", "goal": "buy", "until": "2027-01-15T08:00:00"}', "no zone", "RFC 3339"),
        (b'{"command": "mute", "goal": "buy", "until": 1800000000000}', "epoch seconds", "RFC 3339"),
        (b'{"command": "mute", "goal": "buy", "until": 1e999}', "", ""),
        (b'{"command": "mute", "goal": "buy", "until": -1}', "epoch seconds", "RFC 3339"),
        (b'{"command": "acknowledge", "alert_id": "' + b"a" * 2_000 + b'"}', "longer than", "shorten"),
        (b"[" * 100_000, "", ""),
    ],
)
def test_a_mistake_is_named_with_its_remedy(value: bytes | None, wrong: str, remedy: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse(value, RULES)
    assert wrong in caught.value.message
    assert remedy in caught.value.remedy
    assert caught.value.remedy
    assert "\n" not in caught.value.message


# --- the holder of the totals -----------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAVE_S", 1e9)
    monkeypatch.setattr(patience.until_done, "__defaults__", (0.0,))


async def fallen() -> tuple[Watcher, Producer, str]:
    """A watcher with an open alert, what it sent, and the alert's id."""
    found, producer = watcher(), Producer()
    for minute in MINUTES[: BREAKS + 10]:
        tell(found, minute)
        await found.work(producer)
    return found, producer, producer.alerts()[0]["alert_id"]


async def obey(found: Watcher, producer: Producer, **fields: Any) -> list[dict[str, Any]]:
    """Give it a command; the alert records that come of it."""
    before = len(producer.alerts())
    found.command(found.next_command, orjson.dumps(fields))
    assert await found.work(producer)
    return producer.alerts()[before:]


async def test_what_a_command_did_is_saved_with_it() -> None:
    found, producer, name = await fallen()
    assert found.next_command == 0
    (record,) = await obey(found, producer, command="acknowledge", alert_id=name)
    assert (record["state"], record["acknowledged"]) == ("updated", True)
    assert await obey(found, producer, command="mute", until=LATE, **MOBILE) == []
    restarted = watcher(producer.rows())
    assert restarted.next_command == found.next_command == 2
    (alert,) = restarted.watch.alerts()
    assert (alert["acknowledged"], alert["muted"]) == (True, True)
    (record,) = await obey(restarted, producer, command="unmute", **MOBILE)
    assert (record["state"], record["acknowledged"]) == ("updated", True)


async def test_a_command_that_was_obeyed_but_not_saved_gives_the_same_record_again() -> None:
    found, producer, name = await fallen()
    saved = producer.rows()
    (record,) = await obey(found, producer, command="acknowledge", alert_id=name)
    again = watcher(saved)
    for minute in MINUTES[: BREAKS + 10]:
        tell(again, minute)
    await again.work(Producer())
    (same,) = await obey(again, Producer(), command="acknowledge", alert_id=name)
    assert (same["alert_id"], same["revision"]) == (record["alert_id"], record["revision"])


async def test_the_same_command_twice_is_as_good_as_once() -> None:
    found, producer, name = await fallen()
    assert len(await obey(found, producer, command="acknowledge", alert_id=name)) == 1
    assert await obey(found, producer, command="acknowledge", alert_id=name) == []
    for _ in range(2):
        assert await obey(found, producer, command="mute", until=LATE, **MOBILE) == []
        assert len(found.watch.mutes) == 1


async def test_what_is_ignored_is_said_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    found, producer, name = await fallen()
    for minute in MINUTES[BREAKS + 10 : LAST]:
        tell(found, minute)
        await found.work(producer)
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="streams"):
        for fields, wanted in [
            ({"command": "acknowledge", "alert_id": "x\ny"}, "there is no such alert"),
            ({"command": "acknowledge", "alert_id": name}, "the alert is over"),
            ({"command": "mute", "goal": "buy", "until": FIRST * 60}, "that time is over"),
            ({"command": "unmute", "goal": "buy"}, "no command has muted exactly that"),
            ({"command": "mute", "goal": "buy"}, "`until`"),
        ]:
            caplog.clear()
            assert await obey(found, producer, **fields) == []
            (line,) = caplog.records
            assert line.levelno == logging.WARNING
            assert "is ignored" in line.getMessage()
            assert wanted in line.getMessage()
            assert "\n" not in line.getMessage()
        caplog.clear()
        assert await obey(found, producer, command="mute", until=LATE, by="Ada", note="sale", **MOBILE) == []
        (line,) = caplog.records
        assert line.levelno == logging.INFO
        assert all(word in line.getMessage() for word in ("goal buy", "value mobile", "'Ada'", "'sale'"))


async def test_a_message_that_is_no_command_stops_nothing_and_is_not_read_again() -> None:
    found, producer, name = await fallen()
    found.command(0, b"hello")
    found.command(7, None)  # offsets may have gaps
    found.command(8, orjson.dumps({"command": "acknowledge", "alert_id": name}))
    assert found.next_command == 9
    assert await found.work(producer)
    assert watcher(producer.rows()).next_command == 9
    assert producer.alerts()[-1]["acknowledged"]


def test_commands_are_msgspec_structs_that_know_no_other_field() -> None:
    for kind in (Acknowledge, Mute, Unmute):
        assert msgspec.structs.fields(kind)
        assert kind.__struct_config__.forbid_unknown_fields


# --- the command line -------------------------------------------------------------------------------------


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Command]]:
    """What the command line publishes: brokers, topic, command."""
    found: list[tuple[str, str, Command]] = []

    async def publish(bootstrap: str, _: Any, topic: str, value: bytes) -> None:
        found.append((bootstrap, topic, parse(value, None)))

    monkeypatch.setattr(operator_sending, "_publish", publish)
    return found


def test_the_command_line_publishes_what_it_is_told(sent: list[Any], tmp_path: Path) -> None:
    (tmp_path / "monitor.yaml").write_text(CONFIG + "\n")
    given = ["--config", str(tmp_path / "monitor.yaml"), "--by", "Ada", "--note", "seen"]
    series = ["--goal", "buy", "--dimension", "device", "--value", "mobile"]
    for line in (
        ["acknowledge", "a1", *given],
        ["mute", *series, "--until", "2h", *given],
        ["mute", *series, "--until", "1800000000", "--group", "other", "--bootstrap", "kafka:1", *given],
        ["unmute", *series],
    ):
        done = CliRunner().invoke(cli, line)
        assert (done.exit_code, done.output.split()[0]) == (0, "published"), done.output
    said = {"by": "Ada", "note": "seen"}
    assert sent[0] == ("localhost:9092", "conversion-commands", Acknowledge(alert_id="a1", **said))
    in_two_hours = sent[1][2]
    assert abs(in_two_hours.until_s - time.time() - 7_200) < 60
    until = 1_800_000_000
    assert sent[2] == ("kafka:1", "other-conversion-commands", Mute(until=until, **MOBILE, **said))
    assert sent[3] == ("127.0.0.1:9092", "conversion-commands", Unmute(**MOBILE))


@pytest.mark.parametrize(
    "line",
    [
        ["mute", "--until", "2h"],
        ["mute", "--goal", "buy", "--until", "soon"],
        ["unmute", "--value", "mobile"],
        ["mute", "--goal", "by", "--until", "2h", "--config", "monitor.yaml"],
    ],
)
def test_the_command_line_refuses_what_a_worker_would_ignore(
    sent: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("monitor.yaml").write_text(CONFIG)
    error = CliRunner().invoke(cli, line).exception
    assert isinstance(error, CommandError)
    assert error.exit_code == 2
    assert not sent


@pytest.mark.parametrize("name", ["acknowledge", "mute", "unmute"])
def test_help_shows_an_example(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert f"  conversion-monitor {name} " in result.output
