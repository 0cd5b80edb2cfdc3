"""The detectors' state in its changelog: parts, which state is the newest, what is saved when."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
import orjson
import pytest
from aiokafka.errors import KafkaConnectionError

from monitor.minutes import MINUTE_MS
from streams import patience
from streams import watcher as module
from streams.errors import StateError
from streams.settings import parse_settings
from streams.watcher import Part, Watcher, newest
from tests.unit.test_watch import FIRST, LAST, MINUTES, SEGMENTS, passed

CONFIG = """
clock: event
kafka: {bootstrap_servers: "localhost:9092"}
windows: [1m, 5m]
allowed_lateness: 0ms
goals: {buy: {kind: macro, match: {event: purchase}}}
dimensions: [device]
"""
SETTINGS = parse_settings(CONFIG, {})


@dataclass
class Producer:
    """Keeps what is sent; `fails` sends are refused."""

    sent: list[tuple[str, bytes, bytes]] = field(default_factory=list)
    fails: int = 0

    async def send(self, topic: str, key: bytes, value: bytes, *_: Any) -> Any:
        if self.fails:
            self.fails -= 1
            raise KafkaConnectionError
        self.sent.append((topic, key, value))

        async def acknowledged() -> None:
            pass

        return acknowledged()

    def rows(self, upto: int | None = None) -> dict[bytes, bytes]:
        """The table: the newest value of each key."""
        return {key: value for topic, key, value in self.sent[:upto] if topic == "state"}

    def alerts(self) -> list[dict[str, Any]]:
        return [orjson.loads(value) for topic, _, value in self.sent if topic == "alerts"]


def watcher(rows: dict[bytes, bytes] | None = None) -> Watcher:
    return Watcher(SETTINGS, 1, "alerts", "state", rows or {})


def tell(found: Watcher, *minutes: Any) -> None:
    """What a partition tells; `put` reads no more of it than this."""
    counts = SimpleNamespace(segments=SEGMENTS)
    message = SimpleNamespace(
        passed_ms=passed(minutes[-1][0]), counts=counts, minutes=list(minutes), producers={}
    )
    found.put(0, message)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAVE_S", 0.0)
    monkeypatch.setattr(patience.until_done, "__defaults__", (0.0,))


def stored(stamp: int, bodies: list[bytes], parts: int | None = None) -> dict[bytes, bytes]:
    count = parts or len(bodies)
    return {
        f"{stamp % 2}:{i}".encode(): msgspec.msgpack.encode(Part(stamp, i, count, body))
        for i, body in enumerate(bodies)
    }


def test_the_newest_complete_state_counts() -> None:
    assert newest({}) is None
    assert newest(stored(4, [b"a", b"b"])) == (4, b"ab")
    assert newest(stored(4, [b"a"]) | stored(5, [b"c", b"d"])) == (5, b"cd")
    assert newest(stored(4, [b"a"]) | stored(5, [b"c"], parts=2)) == (4, b"a")
    assert newest(stored(5, [b"c"], parts=2)) is None
    # Parts of the state before last stay under the keys that the last one did not need.
    assert newest(stored(3, [b"x", b"y", b"z"]) | stored(5, [b"c"]) | stored(4, [b"a"])) == (5, b"c")


async def test_a_kill_at_any_message_of_a_save_leaves_the_state_before_or_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 500)
    found, producer = watcher(), Producer()
    states: list[bytes] = []
    for minute in MINUTES[:6]:
        tell(found, minute)
        begin = len(producer.sent)
        assert await found.work(producer)
        states.append(found.watch.saved())
        assert len(producer.sent) - begin > 2
        for upto in range(begin, len(producer.sent) + 1):
            rows = producer.rows(upto)
            if not begin and newest(rows) is None:
                continue
            assert watcher(rows).watch.saved() in states[-2:]
        assert watcher(producer.rows()).watch.saved() == states[-1]


async def test_a_restart_after_each_save_publishes_every_alert_once() -> None:
    undisturbed, one = watcher(), Producer()
    restarted, other = watcher(), Producer()
    for minute in MINUTES:
        tell(undisturbed, minute)
        await undisturbed.work(one)
        tell(restarted, minute)
        await restarted.work(other)
        assert restarted.saved_minute == minute[0]
        restarted = watcher(other.rows())
        assert restarted.saved_minute == minute[0]
    assert one.alerts() == other.alerts()
    states = [a["state"] for a in one.alerts()]
    assert (states[0], states[-1], states.count("firing")) == ("firing", "resolved", 1)
    assert len({a["alert_id"] for a in one.alerts()}) == 1
    assert {key for topic, key, _ in one.sent if topic == "alerts"} == {
        a["alert_id"].encode() for a in one.alerts()
    }


async def test_nothing_is_saved_while_no_minute_is_judged() -> None:
    found, producer = watcher(), Producer()
    assert not await found.work(producer)
    tell(found, MINUTES[0])
    assert await found.work(producer)
    sent = len(producer.sent)
    assert not await found.work(producer)
    assert len(producer.sent) == sent


async def test_it_is_saved_now_and_then_and_at_once_with_an_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAVE_S", 1e9)
    found, producer = watcher(), Producer()
    found._saved_at = 1e12  # just saved
    for minute in MINUTES:
        tell(found, minute)
        saved = await found.work(producer)
        assert saved == (producer.sent[-1:] != [] and producer.sent[-1][0] == "state" and saved)
        if producer.alerts():
            assert saved
            break
        assert not saved
        assert found.saved_minute != found.watch.closed
    assert producer.alerts()
    assert [topic for topic, _, _ in producer.sent][-1] == "state", "the alert first, then the state"


async def test_a_broker_that_is_away_delays_but_loses_nothing() -> None:
    calm, restless = Producer(), Producer()
    one, other = watcher(), watcher()
    for number, minute in enumerate(MINUTES[: LAST // 2]):
        tell(one, minute)
        await one.work(calm)
        tell(other, minute)
        restless.fails = number % 3
        await other.work(restless)
    assert calm.alerts() == restless.alerts() != []
    assert other.watch.saved() == one.watch.saved()
    assert watcher(restless.rows()).watch.saved() == one.watch.saved()


@pytest.mark.parametrize("body", [b"", b"\x93\x01", msgspec.msgpack.encode([99, None, None, {}, [], b""])])
def test_a_state_that_cannot_be_read_is_an_error_with_a_remedy(body: bytes) -> None:
    with pytest.raises(StateError, match="state cannot be read"):
        watcher(stored(1, [body]))


def test_stamps_go_on_after_a_restart() -> None:
    rows = stored(7, [watcher().watch.saved()])
    assert watcher(rows)._stamp == 7


def test_minutes_of_the_tests_are_in_order() -> None:
    assert all(b[0] == a[0] + 1 for a, b in itertools.pairwise(MINUTES))
    assert MINUTES[0][0] == FIRST
    assert passed(FIRST) == (FIRST + 1) * MINUTE_MS
