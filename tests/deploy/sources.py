"""What Prometheus scrapes here: an invented shop behind the real collector, and a real worker."""

from __future__ import annotations

import json
import math
import re
import sys
import threading
import time
import urllib.request
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from monitor.metrics import CONTENT_TYPE, ConversionCollector, PipelineCounters
from monitor.snapshot import DetectionRow, GoalCounts, Row, Snapshot
from tests.deploy import demo_on
from tests.deploy.servers import HOST, Process, free_port, wait_until

#: Value of the dimension `device` → share of the visitors.
DEVICES = {"mobile": 0.6, "desktop": 0.35, "tablet": 0.05}
#: Goal → its normal rate.
GOALS = {"purchase": 0.034, "newsletter": 0.012}
#: Window → visitors in it.
WINDOWS = {"1m": 2500, "5m": 10_900, "1h": 90_000, "24h": 900_000}


class Source(Protocol):
    """Something with targets to scrape."""

    targets: list[str]

    def start(self) -> None: ...

    def stop(self) -> None: ...


class StandIn:
    """An invented shop behind the real collector: two workers, one of which holds the totals.

    `outage` breaks the purchases on mobile, `loss` is what the detector says is lost by then.
    """

    def __init__(self) -> None:
        self.outage = False
        self.loss = 0.0
        self._began = time.time()
        self._counters = [PipelineCounters(build={"version": "0.0.0"}) for _ in range(2)]
        self._collectors = [
            ConversionCollector(self._snapshot, self._counters[0]),
            ConversionCollector(lambda: None, self._counters[1]),
        ]
        self._servers = [ThreadingHTTPServer((HOST, 0), self._handler(k)) for k in range(2)]
        self.targets = [f"{HOST}:{server.server_port}" for server in self._servers]

    def start(self) -> None:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        for k in range(len(self._servers)):
            self.stop_worker(k)

    def stop_worker(self, k: int) -> None:
        """One of the two workers goes away."""
        self._servers[k].shutdown()
        self._servers[k].server_close()

    def _handler(self, k: int) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._count(k)
                body = outer._collectors[k].exposition()
                self.send_response(200)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _count(self, k: int) -> None:
        """What a worker has done by now: 50 events a second, a checkpoint every 5."""
        counters, now = self._counters[k], time.time()
        new = int((now - self._began) * 50) - counters.events
        counters.events += new
        counters.duplicates += new // 50
        counters.count_delays(np.linspace(0.2, 1.5, max(new, 1)))
        while counters.checkpoints.count < (now - self._began) / 5:
            counters.checkpoint_done(0.04, now)
        for partition in (2 * k, 2 * k + 1):
            counters.watermark[partition] = now - 1
            counters.committed_offset[partition] = int((now - self._began) * 25)
            counters.consumer_lag[partition] = int(10 * (1 + math.sin(now)))

    def _snapshot(self) -> Snapshot:
        segments = [("all", "all", 1.0)] + [("device", value, share) for value, share in DEVICES.items()]
        rows = []
        for window, visitors in WINDOWS.items():
            for dimension, value, share in segments:
                count = int(visitors * share)
                goals = {}
                for goal, rate in GOALS.items():
                    converters = int(count * rate * self._left(goal, dimension, value))
                    revenue = {"USD": Decimal(converters) * 59} if goal == "purchase" else {}
                    goals[goal] = GoalCounts(converters, converters + 1, converters, revenue)
                rows.append(Row(window, dimension, value, count, count + 9, goals))
        detection = []
        for dimension, value, _ in segments:
            for goal, rate in GOALS.items():
                hit = self.outage and goal == "purchase" and (dimension, value) == ("device", "mobile")
                state, alerts = ("alerting", {"rate_drop": True}) if hit else ("watching", {})
                loss, sure = (self.loss, 0.99) if hit else (0.0, None)
                detection.append(DetectionRow(goal, dimension, value, rate, state, alerts, loss, sure))
        return Snapshot(time.time(), True, tuple(rows), (), tuple(detection))

    def _left(self, goal: str, dimension: str, value: str) -> float:
        """Share of a goal's conversions that still come."""
        if not self.outage or goal != "purchase":
            return 1.0
        return {("device", "mobile"): 0.3, ("all", "all"): 0.6}.get((dimension, value), 1.0)


class DemoWorker(Process):
    """`conversion-monitor demo`: a real worker, an embedded broker, lifelike traffic and its outage.

    Args:
        directory: For its log.
        breaks_after: Seconds until the mobile checkout breaks; None: the demo's own time.
        mended_after: Seconds until it works again.
        broker: Address of a Kafka to run it on; None: the embedded broker.
    """

    def __init__(
        self,
        directory: Path,
        *,
        breaks_after: float | None = None,
        mended_after: float | None = None,
        broker: str | None = None,
    ) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.targets = [f"{HOST}:{self.port}"]
        self._times = {"--breaks-after": breaks_after, "--mended-after": mended_after}
        self._broker = broker

    def start(self) -> None:
        times = [
            word for name, value in self._times.items() if value is not None for word in (name, str(value))
        ]
        if self._broker is None:
            command = [str(Path(sys.executable).with_name("conversion-monitor")), "demo"]
        else:
            command = [sys.executable, demo_on.__file__, self._broker]
        self.launch(*command, "--port", str(self.port), *times)
        wait_until(self._ready, f"the demo on port {self.port}", 60)

    def _ready(self) -> bool:
        with urllib.request.urlopen(f"http://{self.targets[0]}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)

    def alerts(self) -> list[dict[str, Any]]:
        """What HTTP shows."""
        with urllib.request.urlopen(f"http://{self.targets[0]}/api/v1/rates", timeout=5) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())["alerts"]
            return found

    def bootstrap(self) -> str:
        """Address of the broker, as the demo prints it."""
        if self._broker is not None:
            return self._broker
        found = re.search(r"Kafka\s+(\S+:\d+)", self.log.read_text(errors="replace"))
        assert found is not None, self.said()
        return found[1]
