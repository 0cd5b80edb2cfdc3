"""An operator acknowledges and mutes an alert by the topic, and sees it in the metrics and over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer

from tests.conftest import Broker
from tests.worker import Worker, read_to_end, run, wait_until

PARTITIONS = 2
KEYS: dict[str, Any] = {
    "clock": "event",
    "windows": ["1m", "5m"],
    "allowed_lateness": "0ms",
    "checkpoint_interval": "1s",
    "dimensions": {"device": {}},
    "goals": {"buy": {"kind": "macro", "match": {"event": "purchase"}, "expected_rate": 0.2}},
}
#: 2024-01-15 00:00 UTC, minutes; from the 30th of 50 on nobody buys on mobile.
BEGIN, BREAKS, MINUTES = 28_421_280, 30, 50
MOBILE = {"goal": "buy", "dimension": "device", "value": "mobile"}


def events() -> Iterator[tuple[str, bytes]]:
    """Visitor and event, in the order of time: every visitor comes once, and buys at once or not at all."""
    rng = np.random.default_rng(3)
    number = 0
    for minute in range(MINUTES):
        for second in sorted(rng.uniform(0, 60, 200)):
            number += 1
            mobile = rng.random() < 0.6
            at = int(((BEGIN + minute) * 60 + second) * 1000)
            buys = rng.random() < 0.2 and not (mobile and minute >= BREAKS)
            for name in ("page_view", *(["purchase"] if buys else [])):
                event = {"event": name, "visitor_id": f"v{number}", "timestamp": at}
                event["device"] = "mobile" if mobile else "desktop"
                yield f"v{number}", json.dumps(event).encode()


async def send(
    bootstrap: str, topic: str, messages: Iterator[tuple[str, bytes]] | list[tuple[str, bytes]]
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5)
    await producer.start()
    try:
        sent = [await producer.send(topic, value, key.encode()) for key, value in messages]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


def samples(worker: Worker, name: str) -> dict[str, float]:
    """Value of the dimension → sample, of kind `rate_drop` where there are kinds."""
    text = worker.get("/metrics")[1].decode()
    found: dict[str, float] = {}
    for labels, number in re.findall(rf"^{name}\{{(.*)\}} (\S+)$", text, re.MULTILINE):
        if "kind=" not in labels or 'kind="rate_drop"' in labels:
            found[re.findall(r'value="(.*?)"', labels)[0]] = float(number)
    return found


def shown(worker: Worker) -> tuple[bool, bool, bool, bool] | None:
    """Of the alert: acknowledged and muted over HTTP; acknowledged and active in the metrics. None without an alert."""
    status, body = worker.get("/api/v1/rates")
    alerts = json.loads(body)["alerts"] if status == 200 else []
    acknowledged, active = (
        samples(worker, f"conversion_alert_{what}") for what in ("acknowledged", "active")
    )
    if not alerts or "all" not in acknowledged:
        return None
    (alert,) = alerts
    return alert["acknowledged"], alert["muted"], acknowledged["all"] == 1, active["all"] == 1


def wait_for(worker: Worker, wanted: tuple[bool, bool, bool, bool], why: str) -> None:
    try:
        wait_until(lambda: shown(worker) == wanted, 30, why)
    except AssertionError as error:
        msg = f"{error}\n{shown(worker)}\n{worker.log_tail(20)}"
        raise AssertionError(msg) from None


@pytest.mark.timeout(120)
def test_a_command_is_seen_in_metrics_and_http_also_after_a_kill(
    embedded: Broker, topic: str, group: str, tmp_path: Path
) -> None:
    kafka = {
        "bootstrap_servers": embedded.bootstrap,
        "topic": topic,
        "group": group,
        "partitions": PARTITIONS,
    }
    with Worker(tmp_path, {"kafka": kafka, **KEYS}) as worker:
        worker.start().wait_ready()
        asyncio.run(send(embedded.bootstrap, topic, events()))
        wait_for(worker, (False, False, False, True), "an alert is open")
        (alert,) = json.loads(worker.get("/api/v1/rates")[1])["alerts"]

        def command(**fields: Any) -> None:
            message = (fields["command"], json.dumps(fields).encode())
            asyncio.run(send(embedded.bootstrap, f"{group}-conversion-commands", [message]))

        command(command="silence", alert_id=alert["alert_id"])
        command(command="acknowledge", alert_id=alert["alert_id"], by="Ada")
        wait_for(worker, (True, False, True, True), "it is acknowledged")
        series = [word for name, value in MOBILE.items() for word in (f"--{name}", value)]
        given = [*series, "--config", str(worker.config_file)]
        assert run("mute", *given, "--until", "2h", "--by", "Ada").returncode == 0
        wait_for(worker, (True, True, True, False), "it is muted")
        assert samples(worker, "conversion_alert_muted")["mobile"] == 1
        assert len([line for line in worker.log().splitlines() if "silence" in line]) == 1

        worker.kill()
        worker.start().wait_ready()
        wait_for(worker, (True, True, True, False), "both are known after a kill")
        assert run("unmute", *given).returncode == 0
        wait_for(worker, (True, False, True, True), "it speaks again")
        assert len([line for line in worker.log().splitlines() if "silence" in line]) == 1

        told = [json.loads(r.value) for r in read_to_end(embedded.bootstrap, f"{group}-conversion-alerts", 0)]
        assert {record["alert_id"] for record in told} == {alert["alert_id"]}
        assert told[0]["state"] == "firing"
        seen = [record["acknowledged"] for record in told]
        assert seen == sorted(seen)
        assert seen.count(True) == 2
