"""Minutes to alerts: a kill between any two of them neither repeats an alert nor loses one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from monitor.detection.config import Span
from monitor.minutes import MINUTE_MS
from monitor.watch import AT_ONCE, PRODUCERS, SHOWN_RESOLVED, VERSION, Watch, detection_config
from monitor.watch_state import Mute
from tests import product

KEYS = {
    "windows": ["1m", "5m"],
    "goals": {"buy": {"kind": "macro", "match": {"event": "purchase"}}},
    "dimensions": {"device": {"max_values": 3}},
    "allowed_lateness": "0ms",
}
DEVICES = ("mobile", "desktop")
SEGMENTS = [("device", list(DEVICES), [1, 2])]
FIRST = 28_422_000
BREAKS, MENDED, LAST = 60, 90, 150
Minute = tuple[int, int, list[int], list[int]]


def minutes() -> list[Minute]:
    """Two and a half hours; for half an hour mobile does not buy."""
    rng = np.random.default_rng(5)
    out: list[Minute] = []
    for m in range(LAST):
        visitors = rng.poisson([400, 300])
        rate = np.array([0.0 if BREAKS <= m < MENDED else 0.1, 0.12])
        bought = rng.binomial(visitors, rate)
        cells = [int(visitors.sum()), *visitors.tolist(), int(bought.sum()), *bought.tolist()]
        where = [i for i, n in enumerate(cells) if n]
        out.append((FIRST + m, 3, where, [cells[i] for i in where]))
    return out


MINUTES = minutes()
RULES = product.rules_of(KEYS)
CONFIG = detection_config(RULES, false_alarms_per_month=1.0, min_conversions_lost=3.0)


def watch(saved: bytes | None = None) -> Watch:
    return Watch(RULES, CONFIG, 1, saved)


def passed(minute: int) -> int:
    return (minute + 1) * MINUTE_MS


def step(found: Watch, minute: Minute) -> list[dict[str, Any]]:
    found.put(0, passed(minute[0]), SEGMENTS, [minute], {})
    return found.judge(None)


@pytest.fixture(scope="module")
def undisturbed() -> tuple[list[dict[str, Any]], list[bytes]]:
    """All records of a run without a kill, and the state after each minute."""
    found, records, states = watch(), [], []
    for minute in MINUTES:
        records += step(found, minute)
        states.append(found.saved())
    return records, states


def test_the_outage_is_one_alert_that_says_where_and_is_resolved(
    undisturbed: tuple[list[dict[str, Any]], list[bytes]],
) -> None:
    records, _ = undisturbed
    assert len({r["alert_id"] for r in records}) == 1
    assert [r["revision"] for r in records] == list(range(1, len(records) + 1))
    assert (records[0]["state"], records[-1]["state"]) == ("firing", "resolved")
    assert records[0]["goal"] == "buy"
    mobile = [s["share"] for s in records[-1]["segments"] if s["value"] == "mobile"]
    assert (records[-1]["value"] == "mobile") or (mobile and mobile[0] > 0.9)
    assert abs(records[0]["onset_at"] // 60 - (FIRST + BREAKS)) <= 2


def test_a_kill_between_any_two_minutes_changes_no_record(
    undisturbed: tuple[list[dict[str, Any]], list[bytes]],
) -> None:
    """Killed after each minute that is judged and saved, every partition tells its last minutes again."""
    records, states = undisturbed
    found, seen = watch(), []
    for m, minute in enumerate(MINUTES):
        seen += step(found, minute)
        assert found.saved() == states[m], f"minute {m}"
        found = watch(found.saved())
        found.put(0, passed(minute[0]), SEGMENTS, MINUTES[max(0, m - 3) : m + 1], {})
        assert found.judge(None) == []
    assert seen == records
    assert [r["alert_id"] for r in found.alerts()] == [records[-1]["alert_id"]]


@pytest.mark.parametrize("back", [1, 5, 25])
def test_what_was_judged_but_not_saved_is_judged_again_to_the_same_records(
    undisturbed: tuple[list[dict[str, Any]], list[bytes]], back: int
) -> None:
    """Published, then killed before the state was saved: the same records come once more, with the same ids."""
    records, states = undisturbed
    told: dict[tuple[str, int], dict[str, Any]] = {}
    for m in range(back, LAST, back):
        found = watch(states[m - back])
        for minute in MINUTES[m - back + 1 : m + 1]:
            for record in step(found, minute):
                assert told.setdefault((record["alert_id"], record["revision"]), record) == record
        assert found.saved() == states[m]
    ids = [(r["alert_id"], r["revision"]) for r in records if r["changed_at"] // 60 <= FIRST + LAST - back]
    assert set(ids) <= set(told)
    assert all(told[key] in records for key in told)


def test_in_one_go_or_minute_by_minute_is_the_same(
    undisturbed: tuple[list[dict[str, Any]], list[bytes]],
) -> None:
    records, states = undisturbed
    found = watch()
    found.put(0, passed(FIRST + LAST - 1), SEGMENTS, MINUTES, {})
    first = found.judge(None)
    assert found.closed is not None
    assert FIRST + AT_ONCE - 1 <= found.closed < FIRST + LAST - 1
    assert first + found.judge(None) == records
    assert found.saved() == states[-1]


def test_a_minute_judged_long_after_its_end_is_marked() -> None:
    found, now = watch(), passed(FIRST + LAST) + 3_600_000
    found.put(0, passed(FIRST + LAST - 1), SEGMENTS, MINUTES, {})
    out = [*found.judge(now), *found.judge(now)]
    assert out[0]["state"] == "firing"
    assert out[0]["late"]


def test_an_unknown_version_is_named() -> None:
    stored = msgspec.msgpack.decode(watch().saved())
    stored[0] = VERSION + 1
    with pytest.raises(ValueError, match=rf"version {VERSION + 1}.*version {VERSION}"):
        watch(msgspec.msgpack.encode(stored))


def test_muted_alerts_are_kept_but_not_published() -> None:
    muted = detection_config(
        RULES, false_alarms_per_month=1.0, min_conversions_lost=3.0, mute=[Span(0, float("inf"), "buy")]
    )
    found = Watch(RULES, muted, 1)
    out = [record for minute in MINUTES for record in step(found, minute)]
    assert out == []
    assert len(found.alerts()) == 1


def test_only_as_many_values_are_watched_as_have_series_of_their_own() -> None:
    found = watch()
    values = [f"d{i}" for i in range(20)]
    segments = [("device", values, list(range(1, 21)))]
    for m in range(3):
        told = (FIRST + m, 21, list(range(21)), [210, *range(1, 21)])
        found.put(0, passed(FIRST + m), segments, [told], {})
        found.judge(None)
    names = {row.value for row in found.rows() if row.dimension == "device"}
    assert names == {"d19", "d18", "d17"}
    again = watch(found.saved())
    assert {row.value for row in again.rows() if row.dimension == "device"} == names


def test_what_is_remembered_is_bounded() -> None:
    found = watch()
    for i in range(PRODUCERS + 50):
        found.put(0, None, SEGMENTS, [], {f"web/{i}": i})
    assert len(found._producers) == PRODUCERS
    found.records = {
        str(i): {"alert_id": str(i), "state": "resolved", "changed_at": i, "lost_conversions": 0.0}
        for i in range(60)
    }
    found.records["open"] = {
        "alert_id": "open", "state": "firing", "changed_at": 0, "lost_conversions": 0.0
    }  # fmt: skip
    step(found, MINUTES[0])
    assert len(found.records) == SHOWN_RESOLVED + 1
    assert found.alerts()[0]["alert_id"] == "open"
    assert [r["alert_id"] for r in found.alerts()[1:3]] == ["59", "58"]


def test_the_release_is_named_that_went_out_just_before() -> None:
    def run(first_seen: int) -> str | None:
        found = watch()
        out: list[dict[str, Any]] = []
        for minute in MINUTES:
            producers = {"web-shop/2.1": first_seen * MINUTE_MS} if minute[0] >= first_seen else {}
            found.put(0, passed(minute[0]), SEGMENTS, [minute], {"web-shop/2.0": 0, **producers})
            out += found.judge(None)
        release: str | None = out[0]["release"]
        return release

    assert "release 2.1 of web-shop went out" in (run(FIRST + BREAKS - 1) or "")
    assert run(FIRST) is None, "it was there from the beginning"


def starts() -> Iterator[int]:
    """Seconds of the first minute that have traffic."""
    yield from (60, 30, 5)


@pytest.mark.parametrize(
    "seconds",
    [
        *starts(),
    ],
)
def test_no_alert_because_counting_began_in_the_middle_of_a_minute(seconds: int) -> None:
    """Steady traffic whose sessions take some minutes; a visitor buys once in a while."""
    rng = np.random.default_rng(1)
    found, out = watch(), []
    for m in range(40):
        share = seconds / 60 if m == 0 else 1.0
        visitors = rng.poisson(np.array([2_500, 1_800]) * share)
        bought = rng.binomial(visitors, 0.15 * (0.02 if m == 0 and share < 1 else 1.0))
        cells = [int(visitors.sum()), *visitors.tolist(), int(bought.sum()), *bought.tolist()]
        out += step(found, (FIRST + m, 3, list(range(6)), cells))
    assert out == []


# --- operators --------------------------------------------------------------------------------------------


MOBILE = ("buy", "device", "mobile")
FOR_EVER = 1e10


def told(
    until: int, mute: Mute | None = None, at: int = 0, *, restarts: bool = False
) -> tuple[Watch, list[dict[str, Any]]]:
    """The watch after the first `until` minutes, a mute having come after `at` of them, and what was published."""
    found, out = watch(), []
    for m, minute in enumerate(MINUTES[:until]):
        if m == at and mute is not None:
            out += found.mute(mute)
        out += step(found, minute)
        if restarts:
            found = watch(found.saved())
    return found, out


@pytest.mark.parametrize("restarts", [False, True])
def test_an_acknowledged_alert_says_so_from_then_on(*, restarts: bool) -> None:
    found, out = told(BREAKS + 10)
    name = out[0]["alert_id"]
    assert [r["acknowledged"] for r in out] == [False] * len(out)
    assert found.alerts()[0]["acknowledged"] is False
    assert {row.acknowledged for row in found.rows()} == {frozenset()}
    (record,) = found.acknowledge(name)
    assert (record["state"], record["acknowledged"]) == ("updated", True)
    assert record["revision"] == out[-1]["revision"] + 1
    if restarts:
        found = watch(found.saved())
    assert found.acknowledge(name) == found.acknowledge("nothing") == []
    whole = next(row for row in found.rows() if row.dimension == "all")
    assert (whole.alerts, whole.acknowledged) == ({"rate_drop": True}, frozenset({"rate_drop"}))
    later = [r for minute in MINUTES[BREAKS + 10 :] for r in step(found, minute)]
    assert later[-1]["state"] == "resolved"
    assert all(r["acknowledged"] for r in later)
    assert found.alerts()[0]["acknowledged"]
    assert found.acknowledge(name) == [], "it is over"


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("series", [MOBILE, ("buy", None, None), (None, "device", "mobile")])
def test_a_muted_alert_is_not_published_and_not_active(
    series: tuple[str | None, str | None, str | None], *, restarts: bool
) -> None:
    found, out = told(BREAKS + 15, Mute(*series, FOR_EVER), restarts=restarts)
    assert out == []
    assert [(a["state"], a["muted"]) for a in found.alerts()] == [("updated", True)]
    assert not any(any(row.alerts.values()) for row in found.rows())
    assert {row.value for row in found.rows() if row.muted} >= {"mobile"}
    assert told(LAST, Mute(*series, FOR_EVER), restarts=restarts)[1] == [], (
        "nobody was told, so nobody is told its end"
    )


@pytest.mark.parametrize("restarts", [False, True])
def test_a_mute_ends_by_itself_and_the_open_alert_is_told_then(*, restarts: bool) -> None:
    until = FIRST + BREAKS + 20
    mute = Mute(*MOBILE, until * 60.0)
    found, out = told(BREAKS + 20, mute, restarts=restarts)
    assert (out, found.mutes) == ([], (mute,))
    out += step(found, MINUTES[BREAKS + 20])
    assert [(r["state"], r["changed_at"]) for r in out] == [("firing", (until + 1) * 60)]
    assert found.mutes == ()
    assert any(row.alerts.get("rate_drop") for row in found.rows())
    assert not found.alerts()[0]["muted"]
    _, out = told(LAST, mute, restarts=restarts)
    assert (out[0]["state"], out[-1]["state"]) == ("firing", "resolved")
    assert [r["state"] for r in out].count("firing") == 1


def test_who_was_told_of_an_alert_is_told_its_end_though_it_is_muted_since() -> None:
    found, before = told(BREAKS + 10)
    assert found.mute(Mute(*MOBILE, FOR_EVER)) == []
    assert not any(any(row.alerts.values()) for row in found.rows())
    assert found.acknowledge(before[0]["alert_id"]) == [], "kept, not published"
    assert found.alerts()[0]["acknowledged"]
    after = [r for minute in MINUTES[BREAKS + 10 :] for r in step(found, minute)]
    assert [(r["state"], r["alert_id"]) for r in after] == [("resolved", before[0]["alert_id"])]


def test_a_mute_can_be_taken_back_replaced_or_come_too_late() -> None:
    found, _ = told(BREAKS + 10)
    found.mute(Mute(*MOBILE, FOR_EVER))
    found.mute(Mute(*MOBILE, FOR_EVER - 1))
    assert [m.until for m in found.mutes] == [FOR_EVER - 1]
    assert found.unmute("buy", None, None) == [], "of other series"
    (record,) = found.unmute(*MOBILE)
    assert (record["state"], found.mutes) == ("updated", ())
    found.mute(Mute(*MOBILE, FOR_EVER))
    (record,) = found.mute(Mute(*MOBILE, FIRST * 60.0))
    assert (record["state"], found.mutes) == ("updated", ())


def test_a_mute_of_another_segment_keeps_nothing_quiet() -> None:
    undisturbed, out = told(BREAKS + 15)
    found, same = told(BREAKS + 15, Mute("buy", "device", "desktop", FOR_EVER))
    assert same == out
    assert [r.alerts for r in found.rows() if r.dimension == "all"] == [
        r.alerts for r in undisturbed.rows() if r.dimension == "all"
    ]


def test_state_of_before_there_were_commands_can_be_read() -> None:
    found, out = told(BREAKS + 15)
    stored = msgspec.msgpack.decode(found.saved())
    older = watch(msgspec.msgpack.encode(stored[:6]))
    assert (older.mutes, older.next_command) == ((), 0)
    assert [a["alert_id"] for a in older.alerts()] == [out[0]["alert_id"]]
