"""The live page in a real browser: the same numbers, whatever happens to the worker, for every kind of user.

`LIVE_PAGE_PICTURES=docs/img` in the environment keeps the screenshots that the documentation shows.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from monitor.snapshot import Snapshot, to_api
from streams.web import LIVE, create_web, serve
from tests.chromium import Page, browser, find_chromium
from tests.conftest import leave_out
from tests.shop_state import RULES, FakeState, Shop

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

#: A quarter past two in the afternoon (UTC, the zone of the browser here), an hour of it shown.
NOW = 1_700_057_700.0

BROKEN = Shop(NOW - 4_000, broken_at=NOW - 900)
WELL = Shop(NOW - 4_000)


class Worker:
    """A make-believe worker with its real HTTP server."""

    def __init__(self) -> None:
        self.state = FakeState()
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = create_web(self.state, tick_s=0.02)
        self._live = app[LIVE]
        self._runner = await serve(app, "127.0.0.1", self.port)
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def live_through(
        self, shop: Shop, *, until: float = NOW, seconds: int = 3_600, every: int = 15
    ) -> None:
        for time in range(int(until) - seconds, int(until) + 1, every):
            await self.show(shop.at(float(time)))

    async def show(self, snapshot: Snapshot) -> None:
        self.state.current = snapshot
        self._live.look()
        await asyncio.sleep(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tab() -> AsyncIterator[Page]:
    path = find_chromium()
    if path is None:
        leave_out("no Chromium (Debian: apt-get install chromium; or CHROMIUM=path)")
    async with browser(path) as page:
        await page.send("Emulation.setTimezoneOverride", timezoneId="UTC")
        yield page


@pytest_asyncio.fixture(loop_scope="module")
async def page(tab: Page) -> AsyncIterator[Page]:
    await tab.open("about:blank")
    await tab.shape(1280, 800)
    tab.problems.clear()
    tab.requests.clear()
    yield tab
    await tab.open("about:blank")


@pytest_asyncio.fixture(loop_scope="module")
async def worker() -> AsyncIterator[Worker]:
    worker = Worker()
    await worker.start()
    yield worker
    await worker.stop()


async def shows(page: Page, as_of: float) -> None:
    """Waits until the page shows the numbers of that moment."""
    await page.until(f"Number(document.querySelector('#link').dataset.asOf) === {as_of}")


CARDS = """[...document.querySelectorAll('.goal')].map((card) => Object.fromEntries(
  ['rate', 'converters', 'visitors', 'conversions', 'between', 'revenue', 'status'].map((name) => {
    const part = card.querySelector('.' + name);
    return [name, {text: part.textContent, value: part.dataset.value}];
  }).concat([['goal', card.dataset.goal]])))"""

SEGMENTS = """[...document.querySelectorAll('#segments tr')].map((row) => ({
  value: row.querySelector('.segment-value').textContent,
  visitors: row.children[1].dataset.value, rate: row.children[2].dataset.value, status: row.innerText}))"""


def percent(ratio: float) -> str:
    digits = 1 if ratio * 100 >= 10 else 2
    return f"{ratio * 100:.{digits}f}\u00a0%"


def api_row(snapshot: Snapshot, window: str, dimension: str = "all", value: str = "all") -> dict[str, Any]:
    rows = to_api(snapshot, window, dimension)["rows"]
    return next(row for row in rows if row["value"] == value)


@pytest.mark.parametrize("window", [window.name for window in RULES.windows])
async def test_numbers_are_those_of_the_api(page: Page, worker: Worker, window: str) -> None:
    await worker.live_through(BROKEN, seconds=600)
    snapshot = worker.state.current
    assert snapshot is not None
    await page.open(f"{worker.url}?window={window}")
    await shows(page, NOW)
    whole = api_row(snapshot, window)
    cards = await page.run(CARDS)
    assert [card["goal"] for card in cards] == list(whole["goals"])
    for card in cards:
        goal = whole["goals"][card["goal"]]
        assert float(card["rate"]["value"]) == goal["rate"]
        assert card["rate"]["text"] == percent(goal["rate"])
        assert card["between"]["text"].endswith(f"to {percent(goal['upper'])}")
        for name in ("converters", "conversions"):
            assert card[name] == {"text": f"{goal[name]:,}", "value": str(goal[name])}
        assert card["visitors"]["text"] == f"{whole['visitors']:,}"
        revenue = goal["revenue"].get("EUR")
        assert card["revenue"]["text"] == (f"€{float(revenue):,.2f}" if revenue else "")
    segments = await page.run(SEGMENTS)
    assert len(segments) == 7
    for segment in segments:
        dimension = "device" if segment["value"] in ("mobile", "desktop", "tablet") else "channel"
        row = api_row(snapshot, window, dimension, segment["value"])
        assert int(segment["visitors"]) == row["visitors"]
        assert float(segment["rate"]) == row["goals"]["purchase"]["rate"]


async def test_says_what_broke_and_where(page: Page, worker: Worker) -> None:
    await worker.live_through(BROKEN, seconds=1_200)
    await page.open(worker.url)
    await shows(page, NOW)
    assert await page.run("document.querySelector('#banner').dataset.level") == "bad"
    assert await page.run("document.querySelector('#banner-title').textContent") == "Purchase rate fell"
    assert "almost only mobile" in await page.run("document.querySelector('#banner-text').textContent")
    assert (await page.run("document.title")).startswith("▼ Purchase rate fell")
    first = (await page.run(SEGMENTS))[0]
    assert first["value"] == "mobile"
    assert "97 % of the loss" in first["status"]
    assert "Where: device mobile 97 %" in await page.run("document.querySelector('#alerts').innerText")


async def test_updates_by_itself(page: Page, worker: Worker) -> None:
    await worker.show(WELL.at(NOW))
    await page.open(worker.url)
    await shows(page, NOW)
    for second in (1, 2, 3):
        await worker.show(WELL.at(NOW + second))
        await shows(page, NOW + second)
    assert await page.run("document.querySelector('#link').dataset.state") == "live"


async def test_survives_a_restart_of_the_worker(page: Page, worker: Worker) -> None:
    await worker.show(WELL.at(NOW))
    await page.open(worker.url)
    await shows(page, NOW)
    await worker.stop()
    await page.until("document.querySelector('#link').dataset.state !== 'live'")
    assert await page.run("document.querySelector('#link-text').textContent") == "Reconnecting"
    assert float(await page.run("document.querySelector('.rate').dataset.value")) > 0
    worker.state.current = WELL.at(NOW + 30)
    await worker.start()
    await shows(page, NOW + 30)
    await page.until("document.querySelector('#link').dataset.state === 'live'")


async def test_follows_the_totals_to_another_worker(page: Page, worker: Worker) -> None:
    other = Worker()
    await other.start()
    try:
        await worker.show(WELL.at(NOW))
        await other.show(WELL.at(NOW + 60))
        await page.open(f"{worker.url}?window=1h")
        await shows(page, NOW)
        worker.state.url = other.url
        worker.state.current = None
        await shows(page, NOW + 60)
        assert await page.run("location.href") == f"{other.url}?window=1h"
    finally:
        await other.stop()


async def test_waits_while_nobody_holds_the_totals(page: Page, worker: Worker) -> None:
    worker.state.current = None
    await page.open(worker.url)
    await page.until(
        "document.querySelector('#banner-text').textContent.includes('no worker holds the totals yet')"
    )
    await worker.show(WELL.at(NOW))
    await shows(page, NOW)


async def test_waits_for_the_first_event_without_a_false_number(page: Page, worker: Worker) -> None:
    await page.open(worker.url)
    await page.until("document.querySelector('#banner-title').textContent === 'Waiting for the first event'")
    assert (
        await page.run("[...document.querySelectorAll('.rate')].map((e) => e.textContent).join()") == "–,–,–"
    )
    assert page.problems == []


async def test_a_link_to_a_window_that_is_gone_shows_another(page: Page, worker: Worker) -> None:
    await worker.show(WELL.at(NOW))
    await page.open(f"{worker.url}?window=7m")
    await shows(page, NOW)
    assert await page.run("document.querySelector('#windows input:checked').value") == "5m"


async def test_nothing_is_refused_and_nothing_comes_from_elsewhere(page: Page, worker: Worker) -> None:
    await worker.live_through(BROKEN, seconds=300)
    await page.open(worker.url)
    await shows(page, NOW)
    await page.run("document.querySelectorAll('.goal')[1].click()")
    await page.run("document.querySelector('details').open = true")
    await worker.show(BROKEN.at(NOW + 1))
    await shows(page, NOW + 1)
    assert page.problems == []
    assert {url for url in page.requests if not url.startswith(worker.url)} == set()


async def test_the_policy_stops_inline_script(page: Page, worker: Worker) -> None:
    await page.open(worker.url)
    await page.until("document.querySelector('#banner') !== null")
    script = "Object.assign(document.createElement('script'), {textContent: 'window.bad = 1'})"
    await page.run(f"document.body.append({script})")
    assert await page.run("window.bad === undefined")
    assert "Content Security Policy" in str(page.problems)


async def test_a_hidden_page_costs_nothing(page: Page, worker: Worker) -> None:
    await worker.show(WELL.at(NOW))
    await page.open(worker.url)
    await shows(page, NOW)
    hide = "Object.defineProperty(document, 'hidden', {{value: {0}, configurable: true}});"
    await page.run(hide.format("true") + "document.dispatchEvent(new Event('visibilitychange'))")
    for second in range(1, 6):
        await worker.show(WELL.at(NOW + second))
    await asyncio.sleep(0.3)
    assert await page.run("document.querySelector('#link').dataset.asOf") == str(int(NOW))
    await page.run(hide.format("false") + "document.dispatchEvent(new Event('visibilitychange'))")
    await shows(page, NOW + 5)


async def test_by_keyboard_alone(page: Page, worker: Worker) -> None:
    await worker.live_through(BROKEN, seconds=600)
    await page.open(worker.url)
    await shows(page, NOW)

    async def tab_to(wanted: str) -> None:
        for _ in range(12):
            await page.press("Tab")
            if await page.run(f"document.activeElement.matches({wanted!r})"):
                return
        pytest.fail(f"Tab never reaches {wanted}")

    await tab_to("input[name=window]")
    await page.press("ArrowRight")
    await page.until("document.querySelector('#segments-title').textContent.includes('last hour')")
    await tab_to(".goal[data-goal=add_to_cart]")
    await page.press("Enter")
    await page.until(
        "document.querySelector('#chart-title').textContent === 'Add to cart rate, last 10 minutes'"
    )
    assert await page.run("document.activeElement.getAttribute('aria-pressed')") == "true"
    await tab_to("svg")
    await page.press("ArrowLeft")
    readout = await page.run("document.querySelector('.readout').textContent")
    assert "expected" in readout
    await page.press("Home")
    assert await page.run("document.querySelector('.readout').textContent") != readout
    await tab_to("summary")
    await page.press("Enter")
    assert await page.run("document.querySelectorAll('#chart-table tbody tr').length") >= 2


async def test_a_screen_reader_hears_what_the_eye_sees(page: Page, worker: Worker) -> None:
    await worker.live_through(BROKEN, seconds=1_200)
    await page.open(worker.url)
    await shows(page, NOW)
    tree = (await page.send("Accessibility.getFullAXTree"))["nodes"]
    heard = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node.get("ignored")
    ]
    headings = [name for role, name in heard if role == "heading"]
    assert headings[:3] == [
        "Conversion monitor",
        "Purchase rate fell",
        "Conversion rate of each goal, last 5 minutes",
    ]
    buttons = [name for role, name in heard if role == "button"]
    assert len(buttons) == 3
    assert "below normal" in buttons[0]
    assert "expected" in buttons[1]
    pictures = [name for role, name in heard if role in ("image", "img", "graphics-document")]
    assert any(
        "Purchase rate per visitor of the last 5 minutes, from" in name and "Alert since" in name
        for name in pictures
    )
    assert ("radio", "last 5 minutes") in heard
    assert all(
        name
        for role, name in heard
        if role in ("button", "link", "radio", "heading", "image", "columnheader")
    )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("name", "width", "height"), [("desktop", 1280, 800), ("phone", 390, 844), ("narrow", 320, 640)]
)
@pytest.mark.parametrize(("story", "shop"), [("normal", WELL), ("broken", BROKEN)], ids=["normal", "broken"])
async def test_fits_the_screen(
    page: Page,
    worker: Worker,
    story: str,
    shop: Shop,
    name: str,
    width: int,
    height: int,
    dark: bool,
    tmp_path: Path,
) -> None:
    await page.shape(width, height, dark=dark, phone=name != "desktop")
    await worker.live_through(shop)
    await page.open(worker.url)
    await shows(page, NOW)
    await page.until("document.querySelectorAll('.chart .rate').length > 0")
    assert await page.run("document.documentElement.scrollWidth - innerWidth") <= 0
    top = await page.run("document.querySelectorAll('.goal')[0].getBoundingClientRect().bottom")
    assert top <= height, "the headline and the main goal are seen without scrolling"
    folder = Path(os.environ.get("LIVE_PAGE_PICTURES", tmp_path))
    if name != "narrow":
        await page.picture(folder / f"live-page-{story}-{name}-{'dark' if dark else 'light'}.png")
