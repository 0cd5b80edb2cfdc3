import asyncio
import socket
from collections.abc import AsyncIterator
from time import perf_counter

import aiohttp
import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer

from monitor.snapshot import Snapshot, to_api
from streams.errors import PortError
from streams.web import WebState, create_web, default_window, serve
from tests.shop_state import FakeState, Shop

START = 1_700_000_000.0
SHOP = Shop(START, broken_at=START + 600)

Client = TestClient[aiohttp.web.Request, aiohttp.web.Application]


@pytest.fixture
def state() -> FakeState:
    return FakeState(SHOP.at(START))


@pytest.fixture
async def client(state: FakeState) -> AsyncIterator[Client]:
    async with TestClient(TestServer(create_web(state, tick_s=0.01))) as client:
        yield client


async def next_event(response: aiohttp.ClientResponse) -> tuple[str, bytes]:
    async with asyncio.timeout(5):
        text = await response.content.readuntil(b"\n\n")
    lines = dict(line.split(b": ", 1) for line in text.strip().split(b"\n"))
    return lines[b"event"].decode(), lines[b"data"]


def test_the_fake_is_what_a_worker_must_be(state: FakeState) -> None:
    shown: WebState = state
    assert default_window(shown.rules) == "5m"


async def test_rates_are_the_snapshot(client: Client) -> None:
    response = await client.get("/api/v1/rates")
    assert response.content_type == "application/json"
    assert orjson.loads(await response.read()) == orjson.loads(orjson.dumps(to_api(SHOP.at(START))))


async def test_rates_follow_the_snapshot_and_the_question(client: Client, state: FakeState) -> None:
    query = {"window": "1h", "dimension": "device"}
    before = await (await client.get("/api/v1/rates", params=query)).json()
    assert {(row["window"], row["dimension"]) for row in before["rows"]} == {("1h", "device")}
    state.current = SHOP.at(START + 60)
    after = await (await client.get("/api/v1/rates", params=query)).json()
    assert after["as_of"] == START + 60


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/api/v1/rates?window=7m", ["1m", "5m", "1h", "24h"]),
        ("/api/v1/rates?dimension=browser", ["all", "device", "channel"]),
        ("/api/v1/stream?window=", ["1m", "5m", "1h", "24h"]),
        ("/api/v1/history?window=x", ["1m", "5m", "1h", "24h"]),
        ("/api/v1/live?window=x", ["1m", "5m", "1h", "24h"]),
    ],
)
async def test_unknown_window_or_dimension_names_the_known_ones(
    client: Client, path: str, known: list[str]
) -> None:
    response = await client.get(path)
    assert response.status == 400
    answer = await response.json()
    assert answer["known"] == known
    assert "unknown" in answer["error"]


@pytest.mark.parametrize("path", ["/api/v1/rates", "/api/v1/live", "/api/v1/history", "/api/v1/stream", "/"])
async def test_who_does_not_hold_the_totals_says_who_does(
    client: Client, state: FakeState, path: str
) -> None:
    state.current, state.url = None, "http://worker-2:8000/"
    response = await client.get(f"{path}?window=5m", allow_redirects=False)
    assert response.status == 307
    assert response.headers["Location"] == f"http://worker-2:8000{path}?window=5m"


@pytest.mark.parametrize("path", ["/api/v1/rates", "/api/v1/live", "/api/v1/history", "/api/v1/stream"])
async def test_while_nobody_holds_the_totals_it_says_so(client: Client, state: FakeState, path: str) -> None:
    state.current = None
    response = await client.get(path)
    assert response.status == 503
    assert "no worker holds the totals yet" in (await response.json())["error"]
    assert response.headers["Retry-After"] == "5"


async def test_page_opens_even_while_nobody_holds_the_totals(client: Client, state: FakeState) -> None:
    state.current = None
    assert (await client.get("/")).status == 200


async def test_health_and_readiness(client: Client, state: FakeState) -> None:
    assert (await client.get("/healthz")).status == 200
    assert (await client.get("/readyz")).status == 200
    state.missing = ["tables are being recovered"]
    response = await client.get("/readyz")
    assert response.status == 503
    assert await response.json() == {"ready": False, "reasons": ["tables are being recovered"]}
    assert (await client.get("/healthz")).status == 200


async def test_metrics_are_prometheus_text(client: Client) -> None:
    response = await client.get("/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'conversion_visitors{window="5m",dimension="all",value="all"}' in await response.text()


async def test_every_answer_is_locked_down(client: Client) -> None:
    for path in (
        "/",
        "/metrics",
        "/api/v1/rates",
        "/api/v1/stream",
        "/api/v1/rates?window=x",
        "/nothing",
        "/live/no",
    ):
        response = await client.get(path)
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        response.close()


async def test_page_and_its_files_are_served_and_not_sent_twice(client: Client) -> None:
    page = await client.get("/")
    assert page.content_type == "text/html"
    assert "<script" in await page.text()
    again = await client.get("/", headers={"If-None-Match": page.headers["ETag"]})
    assert again.status == 304
    assert (await client.get("/live/..%2F__init__.py")).status == 404


async def test_only_reading_is_allowed(client: Client) -> None:
    assert (await client.post("/api/v1/rates")).status == 405


async def test_stream_sends_a_view_at_once_and_with_each_new_snapshot(
    client: Client, state: FakeState
) -> None:
    async with client.get("/api/v1/stream?window=1m") as response:
        assert response.content_type == "text/event-stream"
        kind, data = await next_event(response)
        assert (kind, orjson.loads(data)["window"], orjson.loads(data)["as_of"]) == ("view", "1m", START)
        for k in range(1, 4):
            state.current = SHOP.at(START + k)
            assert orjson.loads((await next_event(response))[1])["as_of"] == START + k
        live = await (await client.get("/api/v1/live?window=1m")).json()
        assert live["as_of"] == START + 3


async def test_stream_ends_with_moved_when_the_totals_go_elsewhere(client: Client, state: FakeState) -> None:
    async with client.get("/api/v1/stream") as response:
        await next_event(response)
        state.current = None
        assert await next_event(response) == ("moved", b"{}")
        assert await response.content.read() == b""


async def test_history_has_a_point_per_snapshot_without_any_page_open(
    client: Client, state: FakeState
) -> None:
    for k in range(4):
        state.current = SHOP.at(START + 60 * k)
        await asyncio.sleep(0.15)
    history = await (await client.get("/api/v1/history?window=5m")).json()
    assert len(history["times"]) == 4
    assert set(history["goals"]) == {"purchase", "add_to_cart", "newsletter"}


async def test_stopping_with_an_open_page_takes_no_time(state: FakeState) -> None:
    runner = await serve(create_web(state), "127.0.0.1", 0)
    port = runner.addresses[0][1]
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/api/v1/stream") as response,
    ):
        await next_event(response)
        start = perf_counter()
        await runner.cleanup()
        assert perf_counter() - start < 1.0


async def test_a_hundred_pages_share_one_rendering(state: FakeState, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = 0

    def count(*args: object) -> dict[str, object]:
        nonlocal rendered
        rendered += 1
        return {}

    monkeypatch.setattr("streams.live_stream.live_view", count)
    async with TestClient(TestServer(create_web(state, tick_s=0.01))) as client:
        client.session.connector._limit = 0  # type: ignore[union-attr]
        responses = [await client.get("/api/v1/stream") for _ in range(100)]
        await asyncio.gather(*(next_event(response) for response in responses))
        state.current = SHOP.at(START + 1)
        await asyncio.gather(*(next_event(response) for response in responses))
        for response in responses:
            response.close()
    assert rendered == 2


async def test_a_port_in_use_names_port_and_remedy(state: FakeState) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortError, match=rf"port {port} on 127\.0\.0\.1 is in use") as caught:
            await serve(create_web(state), "127.0.0.1", port)
    assert "http.port" in caught.value.remedy


async def test_an_address_of_another_machine_names_the_remedy(state: FakeState) -> None:
    with pytest.raises(PortError, match=r"cannot listen on 192\.0\.2\.1") as caught:
        await serve(create_web(state), "192.0.2.1", 8000)
    assert "http.host" in caught.value.remedy


async def test_a_worker_that_makes_a_new_snapshot_whenever_asked_does_not_make_the_stream_spin(
    state: FakeState,
) -> None:
    asked = 0

    def anew() -> Snapshot:
        nonlocal asked
        asked += 1
        return SHOP.at(START + asked)

    state.snapshot = anew  # type: ignore[method-assign]
    async with TestClient(TestServer(create_web(state, tick_s=0.1))) as client:
        async with client.get("/api/v1/stream") as response:
            await next_event(response)
            before = asked
            await asyncio.sleep(0.35)
        assert asked - before <= 6
