"""Fixtures of the tests of deploy/: real Prometheus and Alertmanager, and something for them to scrape."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.servers import Prometheus, free_port
from tests.deploy.sources import DemoWorker, Source, StandIn


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "deploy: runs the real tools that deploy/ is made for")


@pytest.fixture(scope="session", params=["stand-in", "worker"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """What is scraped: the stand-in (real collector, invented shop), and a real worker on demo traffic."""
    found: Source = (
        StandIn() if request.param == "stand-in" else DemoWorker(tmp_path_factory.mktemp("worker"))
    )
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="session")
def scraping(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus with the committed config and rules, that has scraped the source for a while."""
    prometheus = Prometheus(
        tmp_path_factory.mktemp("prometheus"), source.targets, alertmanager=f"127.0.0.1:{free_port()}"
    )
    try:
        prometheus.start()
        prometheus.wait_for("count_over_time(up{job='conversion-monitor'}[1m]) > 12", seconds=60)
        if prometheus.query("conversion_detector_state"):  # a detector learns before it expects anything
            learned = "count(conversion_rate_expected_ratio{dimension='all'})"
            prometheus.wait_for(
                f"{learned} == count(conversion_converters{{window='5m',dimension='all'}})", seconds=180
            )
        yield prometheus
    finally:
        prometheus.stop()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path
