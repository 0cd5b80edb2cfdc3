"""`conversion-monitor demo` as its user runs it: the mobile checkout breaks, one alert says so, and that it is over."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.worker import COMMAND, KEPT, free_port, read_all, wait_until

#: The detectors take some four minutes of good rates until they call an alert resolved.
BREAKS_S, MENDED_S, DURATION_S = 45, 140, 480
RATE = 300
SEED = 3
START_S = 60
#: Records of one alert: firing, some updates as it grows, resolved. More would be noise to whoever listens.
MOST_RECORDS = 12


class DemoRun:
    """The demo as a process, what it prints, and what its HTTP says."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.output = directory / "demo.log"
        arguments = {"--port": self.port, "--rate": RATE, "--seed": SEED, "--duration": DURATION_S}
        arguments |= {"--breaks-after": BREAKS_S, "--mended-after": MENDED_S}
        command = [COMMAND, "demo", *(str(word) for pair in arguments.items() for word in pair)]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={name: value for name, value in os.environ.items() if name in KEPT},
                start_new_session=True,
            )

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def bootstrap(self) -> str:
        """The broker's address as the demo prints it; empty before."""
        assert self.process.poll() is None, self.said()
        found = re.search(r"Kafka\s+(\S+:\d+)", self.said())
        return found[1] if found else ""

    def rates(self) -> dict[str, Any]:
        """What /api/v1/rates answers; nothing while it does not, as while the demo ends."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/rates", timeout=5) as answer:
                found: dict[str, Any] = json.loads(answer.read())
                return found
        except (urllib.error.URLError, OSError, ValueError):
            return {}

    def alerts(self) -> list[dict[str, Any]]:
        return list(self.rates().get("alerts", []))

    def bought_on_mobile(self) -> float:
        """Purchases a minute on mobile, over the last five minutes."""
        rows = self.rates().get("rows", [])
        where = ("5m", "device", "mobile")
        mobile = [r for r in rows if (r["window"], r["dimension"], r["value"]) == where]
        return float(mobile[0]["goals"]["purchase"]["conversions"]) / 5 if mobile else 0.0

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def wait_for_second(earliest: int, latest: int) -> None:
    """Waits until the clock is between these seconds of a minute.

    The history of the demo begins with the second of its start, and a first minute of a few seconds only is no fair
    beginning for the detectors (tests/unit/test_watch.py has that case).
    """
    wait_until(lambda: earliest <= time.time() % 60 < latest, 61, "the clock goes on", every_s=0.5)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[DemoRun]:
    wait_for_second(2, 25)
    run = DemoRun(tmp_path)
    yield run
    run.end()


@pytest.mark.xfail(
    reason="open defect of detection (issues C and D): with the demo's short history the baseline may be too high, and"
    " the alert then stays open after the repair; seen in one of three runs",
    strict=False,
)
@pytest.mark.slow
@pytest.mark.embedded
@pytest.mark.timeout(720)
def test_the_broken_mobile_checkout_of_the_demo_is_one_alert_and_is_resolved(demo: DemoRun) -> None:
    bootstrap = wait_until(demo.bootstrap, START_S, "the demo says where its broker is")
    began = time.time()
    seen: dict[str, dict[str, Any]] = {}
    fired_after: float | None = None
    resolved_after: float | None = None
    bought = 0.0
    while time.time() - began < DURATION_S - 8:
        if time.time() - began < BREAKS_S:
            bought = demo.bought_on_mobile() or bought
        for alert in demo.alerts():
            seen[alert["alert_id"]] = alert
        states = {alert["state"] for alert in seen.values()}
        if seen and fired_after is None:
            fired_after = time.time() - began
        if states == {"resolved"} and resolved_after is None:
            resolved_after = time.time() - began
        time.sleep(1)
    print(f"fired after {fired_after} s, resolved after {resolved_after} s:", json.dumps(list(seen.values())))

    assert len(seen) == 1, f"one cause, one alert: {list(seen.values())}"
    [alert] = seen.values()
    assert (alert["kind"], alert["goal"]) == ("rate_drop", "purchase"), alert
    where = [part for part in alert["segments"] if (part["dimension"], part["value"]) == ("device", "mobile")]
    assert len(where) == 1, alert["segments"]
    assert where[0]["share"] >= 0.8, where
    assert fired_after is not None
    assert BREAKS_S < fired_after < BREAKS_S + 150, f"fired {fired_after:.0f} s after the start"
    # The onset is when it broke, to the minute.
    assert abs(alert["onset_at"] - (began + BREAKS_S)) <= 90, (alert["onset_at"], began)
    assert resolved_after is not None, f"not resolved: {alert}"
    assert resolved_after > MENDED_S
    assert alert["resolved_at"] is not None
    assert bought, "nothing was counted before it broke"
    lost = bought * (MENDED_S - BREAKS_S) / 60
    assert 0.6 * lost <= alert["lost_conversions"] <= 1.5 * lost, (alert, lost)

    records = [json.loads(r.value) for r in read_all(bootstrap, "conversion-alerts", MOST_RECORDS)]
    assert {r["alert_id"] for r in records} == {alert["alert_id"]}
    assert [r["revision"] for r in records] == list(range(1, len(records) + 1)), "each change once, in order"
    assert records[0]["state"] == "firing"
    assert [r["state"] for r in records].count("firing") == 1
    assert records[-1] == alert, "HTTP shows the latest record"
    assert [r["state"] for r in records].count("resolved") == 1
    assert all(r["state"] == "updated" for r in records[1:-1])
    lost = [r["lost_conversions"] for r in records if r["state"] != "resolved"]
    assert lost == sorted(lost), "what is lost only grows while it fires"

    wait_until(lambda: demo.process.poll() is not None, 40, "the demo ends by itself")
    assert demo.process.returncode == 0, demo.said()
    assert demo.said().rstrip().endswith("nothing is left running")
