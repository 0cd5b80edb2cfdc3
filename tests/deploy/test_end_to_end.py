"""From an outage to a person: worker → Prometheus → Alertmanager → receiver, by the committed files.

Only addresses, intervals and waits are the test's own.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Broker
from tests.deploy.servers import Alertmanager, MailBox, Prometheus, Receiver, wait_until
from tests.deploy.sources import DemoWorker, Source, StandIn
from tests.worker import read_to_end

pytestmark = [pytest.mark.deploy, pytest.mark.slow]

#: The sentence that must arrive.
TOLD = (
    r"Purchase rate( of \w+ \w+)? fell to \d+\.\d % over the last 5 minutes, below the expected \d+\.\d %"
    r"(, mostly \w+ \w+)?; about \d+ conversions lost so far\."
)


#: Seconds from the demo's start: sooner than a person would want it, and for five minutes.
BREAKS_S, MENDED_S = 60.0, 360.0
#: Of the demo: the topic of its alerts, and the number of partitions of its events.
ALERTS, PARTITIONS = "conversion-alerts", 4


@dataclass
class Chain:
    """The servers from scrape to receiver."""

    prometheus: Prometheus
    receiver: Receiver
    mail: MailBox

    def notices(self, status: str) -> list[dict[str, Any]]:
        """Business notifications that the webhook got, by status."""
        return [n for n in self.receiver.got("/webhook") if n["status"] == status]

    def sentences(self) -> set[str]:
        return {alert["annotations"]["summary"] for n in self.notices("firing") for alert in n["alerts"]}


def chain(source: Source, tmp_path: Path, *, every: str, hold: str | None = None) -> Iterator[Chain]:
    receiver, mail = Receiver(), MailBox()
    (tmp_path / "alertmanager").mkdir()
    (tmp_path / "prometheus").mkdir()
    alertmanager = Alertmanager(tmp_path / "alertmanager", receiver, mail)
    prometheus = Prometheus(
        tmp_path / "prometheus", source.targets, alertmanager=alertmanager.address, every=every, hold=hold
    )
    try:
        source.start()
        alertmanager.start()
        prometheus.start()
        yield Chain(prometheus, receiver, mail)
    finally:
        prometheus.stop()
        alertmanager.stop()
        source.stop()
        receiver.stop()
        mail.stop()


@pytest.fixture
def shop() -> StandIn:
    return StandIn()


@pytest.fixture
def invented(shop: StandIn, tmp_path: Path) -> Iterator[Chain]:
    yield from chain(shop, tmp_path, every="1s", hold="4s")


def test_an_outage_is_told_once_and_its_end_too(shop: StandIn, invented: Chain) -> None:
    """Against the stand-in: every route, receiver and template that an outage touches."""
    invented.prometheus.wait_for("count_over_time(conversion_alert_active[1m]) > 3", seconds=30)
    assert invented.receiver.posts == []
    shop.outage, shop.loss = True, 75.0
    wait_until(lambda: invented.notices("firing"), "the webhook hears of the outage", 30)
    wait_until(lambda: invented.receiver.got("/slack"), "Slack hears of the outage", 10)
    [notice] = invented.notices("firing")
    assert notice["groupLabels"] == {"goal": "purchase", "job": "conversion-monitor"}
    assert notice["commonLabels"]["severity"] == "critical"
    [alert] = notice["alerts"]
    assert re.fullmatch(TOLD, alert["annotations"]["summary"])
    assert [
        headers["Authorization"] for path, headers, _ in invented.receiver.posts if path == "/webhook"
    ] == ["Bearer a-token"]
    [slack] = invented.receiver.got("/slack")
    [attachment] = slack["attachments"]
    assert re.fullmatch(f"Act now: {TOLD}", attachment["title"])
    assert re.match(TOLD, attachment["text"])
    assert attachment["color"] == "danger"
    shop.outage, shop.loss = False, 0.0
    wait_until(lambda: invented.notices("resolved"), "the webhook hears that it is over", 60)
    wait_until(lambda: len(invented.receiver.got("/slack")) == 2, "Slack hears that it is over", 10)
    assert len(invented.notices("firing")) == 1, "told once"
    over = invented.receiver.got("/slack")[1]["attachments"][0]["title"]
    assert re.fullmatch(f"Over: {TOLD}", over)


def test_a_dead_worker_is_mailed_and_a_dead_monitor_mutes_the_business(
    shop: StandIn, invented: Chain
) -> None:
    """Against the stand-in: what the platform team hears, and that a dead monitor does not say `resolved`."""
    invented.prometheus.wait_for("count_over_time(conversion_alert_active[1m]) > 3", seconds=30)
    shop.outage, shop.loss = True, 75.0
    wait_until(lambda: invented.notices("firing"), "the webhook hears of the outage", 30)
    shop.stop_worker(1)
    wait_until(lambda: invented.mail.mails, "a mail about the missing worker", 40)
    assert len(invented.mail.mails) == 1, invented.mail.mails
    [mail] = invented.mail.mails
    assert re.search(r"^Subject: The worker 127\.0\.0\.1:\d+ cannot be scraped\.", mail, re.MULTILINE), mail
    shop.stop_worker(0)
    wait_until(
        lambda: any("no conversion rate is known" in m for m in invented.mail.mails), "a mail: it is down", 40
    )
    # The totals are gone, but an alert is remembered for ten minutes, and by then it is muted.
    assert invented.prometheus.query('ALERTS{alertname="ConversionRateDrop",alertstate="firing"}')
    assert invented.notices("resolved") == []


@pytest.fixture
def worker(tmp_path: Path) -> DemoWorker:
    (tmp_path / "worker").mkdir()
    return DemoWorker(tmp_path / "worker", breaks_after=BREAKS_S, mended_after=MENDED_S)


@pytest.fixture
def on_kafka(kafka: Broker, tmp_path: Path) -> Iterator[DemoWorker]:
    """The same demo on Apache Kafka, at the same time."""
    (tmp_path / "on_kafka").mkdir()
    worker = DemoWorker(
        tmp_path / "on_kafka", breaks_after=BREAKS_S, mended_after=MENDED_S, broker=kafka.bootstrap
    )
    try:
        worker.start()
        yield worker
    finally:
        worker.stop()


@pytest.fixture
def demo(worker: DemoWorker, tmp_path: Path) -> Iterator[Chain]:
    """The chain behind a real worker on demo traffic, with every `for:` as committed."""
    yield from chain(worker, tmp_path, every="2s")


def orders_lost(bootstrap: str) -> int:
    """How many customers the broken checkout of the demo has turned away, from the events themselves."""
    failed = {
        event["event_id"]
        for partition in range(PARTITIONS)
        for record in read_to_end(bootstrap, "clickstream", partition)
        if (event := json.loads(record.value)).get("page") == "/checkout/error"
    }
    return len(failed)


@pytest.mark.timeout(1200)
def test_the_outage_of_the_demo_reaches_a_person_once_and_is_resolved(
    worker: DemoWorker, demo: Chain, on_kafka: DemoWorker
) -> None:
    """One cause, one alert, one notification: on the topic, over HTTP and through Prometheus and Alertmanager.

    The same demo on Apache Kafka runs beside it and raises the same alert.
    """
    demo.prometheus.wait_for("conversion_visitors{window='5m',dimension='all'} > 0", seconds=90)
    began = time.monotonic()
    wait_until(lambda: demo.notices("firing"), "the webhook hears of the outage", 400)
    print(f"told {time.monotonic() - began:.0f} s after the first rate: {demo.sentences()}")
    [notice] = demo.notices("firing")
    assert notice["groupLabels"]["goal"] == "purchase"
    for sentence in demo.sentences():
        assert re.fullmatch(TOLD, sentence)
    wait_until(lambda: demo.notices("resolved"), "the webhook hears that it is over", 700)
    print(f"over {time.monotonic() - began:.0f} s after the first rate")
    assert len(demo.notices("firing")) == 1, "told once"
    assert {n["groupLabels"]["goal"] for n in demo.notices("resolved")} == {"purchase"}
    assert demo.mail.mails == [], "the monitor itself has nothing to complain of"
    look_at_alert(worker)
    wait_until(lambda: on_kafka.alerts()[0]["state"] == "resolved", "it is over on Apache Kafka too", 300)
    look_at_alert(on_kafka)


def look_at_alert(worker: DemoWorker) -> None:
    """The one alert of a demo, when it is over: each change once, what is named, what was lost."""
    bootstrap = worker.bootstrap()
    records = [json.loads(r.value) for r in read_to_end(bootstrap, ALERTS, 0)]
    lost = orders_lost(bootstrap)
    print(f"{lost} orders lost; last record: {records[-1]}")
    assert len({r["alert_id"] for r in records}) == 1, "one cause, one alert"
    assert [r["revision"] for r in records] == list(range(1, len(records) + 1)), "each change once, in order"
    states = [r["state"] for r in records]
    assert states == ["firing", *["updated"] * (len(states) - 2), "resolved"]
    alert = records[-1]
    [shown] = worker.alerts()
    assert {name: shown[name] for name in alert} == alert, "HTTP shows the latest record"
    assert (alert["kind"], alert["goal"]) == ("rate_drop", "purchase")
    shares = {(part["dimension"], part["value"]): part["share"] for part in alert["segments"]}
    assert shares[("device", "mobile")] >= 0.9
    assert alert["lost_conversions"] == pytest.approx(lost, rel=0.2)
