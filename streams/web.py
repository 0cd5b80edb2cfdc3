"""HTTP of a worker: metrics, health, the current rates as JSON, and a live page for people.

Every worker answers everything; for the totals, one that does not hold them redirects to the one that does.
What is shown comes from a `WebState`, which the worker implements.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol

import orjson
from aiohttp import web

from monitor.metrics import CONTENT_TYPE
from monitor.rules import Rules
from monitor.snapshot import ALL, Snapshot, to_api
from streams.listen import serve
from streams.live_stream import TICK_S, LiveStream
from streams.page_files import load_page_files

__all__ = ["LIVE", "WebState", "create_web", "default_window", "serve"]

#: Streams (open pages) at once; the next one is told to come back.
MAX_STREAMS = 500

#: Seconds a page may take to read one event before its stream is closed.
WRITE_TIMEOUT_S = 20.0

#: Of the application: its `LiveStream`; `look()` takes a new snapshot at once, not at the next tick.
LIVE = web.AppKey("LIVE", LiveStream)

#: On every response: nothing but our own files may run or load, and nobody may frame the page.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

_NOBODY = (
    "no worker holds the totals yet: the group is starting or moving partitions; try again in a few seconds"
)


class WebState(Protocol):
    """What the worker shows. All methods are cheap and are called on its event loop."""

    @property
    def rules(self) -> Rules:
        """Windows, goals and dimensions of the config."""

    def snapshot(self) -> Snapshot | None:
        """The current totals; None when this worker does not hold them. The same object until they change."""

    def totals_url(self) -> str | None:
        """Base URL (`http://host:port`) of the worker that holds the totals; None while none is known."""

    def ready(self) -> tuple[bool, list[str]]:
        """Whether partitions are assigned and tables recovered, and if not, what is missing."""

    def metrics_text(self) -> bytes:
        """Everything for `/metrics` in the text format."""


def create_web(state: WebState, *, tick_s: float = TICK_S) -> web.Application:
    """The HTTP application of a worker; its background task lives from start-up to clean-up."""
    app = web.Application(middlewares=[_secured])
    app[LIVE] = LiveStream(state.rules, state.snapshot, tick_s=tick_s)
    pages = _Pages(state, app[LIVE])
    app.add_routes(
        [
            web.get("/metrics", pages.metrics),
            web.get("/healthz", pages.healthz),
            web.get("/readyz", pages.readyz),
            web.get("/api/v1/rates", pages.rates),
            web.get("/api/v1/live", pages.live),
            web.get("/api/v1/history", pages.history),
            web.get("/api/v1/stream", pages.stream),
            web.get("/", pages.index),
            web.get("/live/{name}", pages.static),
        ]
    )
    app.cleanup_ctx.append(pages.follow)
    app.on_shutdown.append(pages.close)
    return app


def default_window(rules: Rules) -> str:
    """The window that is shown unless another is asked for: the one nearest to 5 minutes."""
    return min(rules.windows, key=lambda window: abs(window.length_ms - 300_000)).name


class _Pages:
    """The handlers."""

    def __init__(self, state: WebState, live: LiveStream) -> None:
        self._state = state
        self._live = live
        self._files = load_page_files()
        self._windows = [window.name for window in state.rules.windows]
        self._dimensions = [ALL, *(dimension.name for dimension in state.rules.dimensions)]
        self._rates: dict[tuple[str | None, str | None], bytes] = {}
        self._rates_of: Snapshot | None = None

    async def follow(self, app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._live.run())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def close(self, app: web.Application) -> None:
        self._live.close()

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._state.metrics_text(), headers={"Content-Type": CONTENT_TYPE})

    async def healthz(self, request: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def readyz(self, request: web.Request) -> web.Response:
        ready, reasons = self._state.ready()
        return _json({"ready": ready, "reasons": reasons}, status=200 if ready else 503)

    async def rates(self, request: web.Request) -> web.Response:
        window = self._asked(request, "window", self._windows)
        dimension = self._asked(request, "dimension", self._dimensions)
        snapshot = self._state.snapshot()
        if snapshot is None:
            raise self._elsewhere(request)
        if snapshot is not self._rates_of:
            self._rates.clear()
            self._rates_of = snapshot
        body = self._rates.get((window, dimension))
        if body is None:
            body = self._rates[window, dimension] = orjson.dumps(to_api(snapshot, window, dimension))
        return _json_bytes(body)

    async def live(self, request: web.Request) -> web.Response:
        window = self._window(request)
        self._live.look()
        body = self._live.payload(window)
        if body is None:
            raise self._elsewhere(request)
        return _json_bytes(body)

    async def history(self, request: web.Request) -> web.Response:
        window = self._window(request)
        if self._state.snapshot() is None:
            raise self._elsewhere(request)
        return _json(self._live.history.to_api(window))

    async def stream(self, request: web.Request) -> web.StreamResponse:
        window = self._window(request)
        if self._state.snapshot() is None:
            raise self._elsewhere(request)
        if self._live.open_streams >= MAX_STREAMS:
            message = f"{MAX_STREAMS} live pages are open already, which is the most"
            raise _refused(web.HTTPServiceUnavailable, {"error": message}, {"Retry-After": "30"})
        headers = {
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
            **SECURITY_HEADERS,  # here, since the middleware is too late for a response that has begun
        }
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        with contextlib.suppress(ConnectionResetError, TimeoutError):
            async with contextlib.aclosing(self._live.events(window)) as events:
                async for event in events:
                    async with asyncio.timeout(WRITE_TIMEOUT_S):
                        await response.write(event)
        return response

    async def index(self, request: web.Request) -> web.Response:
        url = self._state.totals_url()
        if self._state.snapshot() is None and url is not None:
            raise web.HTTPTemporaryRedirect(url.rstrip("/") + request.path_qs)
        return self._file(request, "index.html")

    async def static(self, request: web.Request) -> web.Response:
        return self._file(request, request.match_info["name"])

    def _file(self, request: web.Request, name: str) -> web.Response:
        file = self._files.get(name)
        if file is None:
            raise web.HTTPNotFound(text=f"no file {name}")
        headers = {"Content-Type": file.content_type, "ETag": file.etag, "Cache-Control": "no-cache"}
        if request.headers.get("If-None-Match") == file.etag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=file.body, headers=headers)

    def _window(self, request: web.Request) -> str:
        return self._asked(request, "window", self._windows) or default_window(self._state.rules)

    def _asked(self, request: web.Request, key: str, known: list[str]) -> str | None:
        value = request.query.get(key)
        if value is not None and value not in known:
            error = {"error": f"unknown {key} {value[:64]!r}", "known": known}
            raise _refused(web.HTTPBadRequest, error)
        return value

    def _elsewhere(self, request: web.Request) -> web.HTTPException:
        url = self._state.totals_url()
        if url is not None:
            return web.HTTPTemporaryRedirect(url.rstrip("/") + request.path_qs)
        return _refused(web.HTTPServiceUnavailable, {"error": _NOBODY}, {"Retry-After": "5"})


@web.middleware
async def _secured(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers.update(SECURITY_HEADERS)
        raise
    if not response.prepared:
        response.headers.update(SECURITY_HEADERS)
    return response


def _json(content: Mapping[str, Any], *, status: int = 200) -> web.Response:
    return _json_bytes(orjson.dumps(content), status=status)


def _json_bytes(body: bytes, *, status: int = 200) -> web.Response:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return web.Response(body=body, status=status, headers=headers)


def _refused(
    kind: type[web.HTTPException], content: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> web.HTTPException:
    return kind(
        text=orjson.dumps(content).decode(),
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
