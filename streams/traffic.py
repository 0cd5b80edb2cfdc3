"""Lifelike traffic of a web shop, for the demo: a seeded simulation, pure but for `publish_traffic`.

Sessions arrive at random with a rate that follows the hour of the day; each belongs to a visitor drawn from a
population in which few come often (Zipf), and goes down the funnel page_view → view_item → add_to_cart →
begin_checkout → purchase as far as device and channel let it. An outage breaks the checkout on mobile.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaProducer

from streams.burst import burst

__all__ = ["Outage", "Profile", "Shop", "burst", "publish_traffic"]

DAY_MS: Final = 86_400_000
#: How often the sender looks at the clock, in seconds.
TICK_S = 0.05
#: Event time that is sent at one go while it catches up, in ms.
STEP_MS = 2_000
#: The sender's linger in ms: batches of few records are slow on the embedded broker.
LINGER_MS = 20

#: Share of sessions, and how readily they buy compared to the mean.
DEVICES: Mapping[str, tuple[float, float]] = {
    "mobile": (0.56, 0.80),
    "desktop": (0.36, 1.32),
    "tablet": (0.08, 1.00),
}
CHANNELS: Mapping[str, tuple[float, float]] = {
    "organic": (0.38, 1.00),
    "paid": (0.22, 0.85),
    "direct": (0.20, 1.15),
    "email": (0.12, 1.45),
    "social": (0.08, 0.55),
}
#: Share of visitors, and their currency.
COUNTRIES: Mapping[str, tuple[float, str]] = {
    "DE": (0.34, "EUR"),
    "US": (0.22, "USD"),
    "FR": (0.14, "EUR"),
    "GB": (0.12, "GBP"),
    "AT": (0.10, "EUR"),
    "CH": (0.08, "CHF"),
}
BRANDS = ("arbor", "bergwerk", "cobalt", "delft", "ember", "fjord", "granit", "hafen", "isar", "juno")
#: Probability of each step; cart and checkout are multiplied by how readily device and channel buy. About 4
#: sessions of 100 end in a purchase.
P_VIEW_ITEM, P_CART, P_CHECKOUT, P_PURCHASE = 0.55, 0.18, 0.58, 0.70
P_SIGN_UP, P_PRICING_LINK = 0.025, 0.015
#: Share of sessions for which the device is drawn again: most visitors keep to one, some come with two.
P_OTHER_DEVICE = 0.15


@dataclass(frozen=True)
class Outage:
    """A release that breaks the checkout on one device: no purchase there from `from_ms` until `to_ms`.

    Attributes:
        from_ms: Event time at which it is rolled out, epoch ms.
        to_ms: Event time at which the next release mends it; None = never.
        device: Where.
    """

    from_ms: int
    to_ms: int | None = None
    device: str = "mobile"

    def broken(self, time_ms: int) -> bool:
        """Whether the checkout is broken at that event time."""
        return self.from_ms <= time_ms and (self.to_ms is None or time_ms < self.to_ms)

    def release(self, time_ms: int) -> str:
        """The shop's release at that event time."""
        if time_ms < self.from_ms:
            return "web-shop/2.14.0"
        return "web-shop/2.14.1" if self.broken(time_ms) else "web-shop/2.14.2"


@dataclass(frozen=True)
class Profile:
    """What kind of shop it is.

    Attributes:
        rate: Events a second, over a whole day.
        visitors: Size of the population.
        exponent: How unequal visitors are; 0 = all alike.
        day_ms: Length of a day; less than 24 h compresses the curve.
        swing: How far the curve goes up and down, 0..1.
        think_s: Mean pause between two steps of a session, in seconds.
        repeats: Share of events that are sent twice, as publishers do after a lost acknowledgement.
        outage: A broken checkout; None = all well.
    """

    rate: float = 200.0
    visitors: int = 50_000
    exponent: float = 0.8
    day_ms: int = DAY_MS
    swing: float = 0.5
    think_s: float = 6.0
    repeats: float = 0.001
    outage: Outage | None = None

    def level(self, time_ms: int) -> float:
        """Traffic at that time relative to the mean: lowest at 4 in the morning (UTC) of the day as it is."""
        hour = (time_ms % self.day_ms) / self.day_ms
        return 1 - self.swing * math.cos(2 * math.pi * (hour - 4 / 24))


class Shop:
    """A stream of events in the order in which they arrive; the same for the same arguments.

    Attributes:
        profile: What kind of shop.
        arrived_ms: Everything that arrives before this has been given out, epoch ms.
    """

    def __init__(self, profile: Profile, start_ms: int, seed: int = 0) -> None:
        """A shop that opens at `start_ms`, epoch ms; `seed` is that of everything random."""
        self.profile = profile
        self._random = random.Random(seed)  # noqa: S311 - a simulation
        self._population = list(accumulate((n + 10.0) ** -profile.exponent for n in range(profile.visitors)))
        self._due: list[tuple[int, int, dict[str, Any]]] = []
        self._count = 0
        self._session_gap_ms = 1000 * self._events_of_a_session() / profile.rate
        self._next_session_ms = float(start_ms)
        self.arrived_ms = start_ms

    def until(self, end_ms: int) -> list[dict[str, Any]]:
        """Events that arrive after those of the last call and before `end_ms`."""
        peak = 1 + self.profile.swing
        while self._next_session_ms < end_ms:
            now = int(self._next_session_ms)
            # A Poisson process of the peak rate, thinned to the rate of the hour.
            if self._random.random() * peak < self.profile.level(now):
                for event in self._session(now):
                    self._schedule(event)
            self._next_session_ms += self._random.expovariate(peak / self._session_gap_ms)
        self.arrived_ms = max(self.arrived_ms, end_ms)
        arrived = []
        while self._due and self._due[0][0] < end_ms:
            arrived.append(heapq.heappop(self._due)[2])
        return arrived

    def _schedule(self, event: dict[str, Any]) -> None:
        arrivals = [event["timestamp"]]
        if self._random.random() < self.profile.repeats:
            arrivals.append(event["timestamp"] + self._random.randrange(100, 5_000))
        for arrival in arrivals:
            self._count += 1
            heapq.heappush(self._due, (arrival, self._count, event))

    def _events_of_a_session(self) -> float:
        """Mean number of events, from 4,000 sessions of a shop of the same kind."""
        state = self._random.getstate()
        total = sum(len(list(self._session(0))) for _ in range(4_000))
        self._random.setstate(state)
        return total / 4_000

    def _session(self, start_ms: int) -> Iterator[dict[str, Any]]:
        draw = self._random
        number = bisect_right(self._population, draw.random() * self._population[-1])
        visitor = f"v{number:06d}"
        own = random.Random(number)  # noqa: S311 - what stays with a visitor: country, device, variant
        country = _choose(own, COUNTRIES)
        device = _choose(own, DEVICES)
        if draw.random() < P_OTHER_DEVICE:
            device = _choose(draw, DEVICES)
        channel = _choose(draw, CHANNELS)
        outage = self.profile.outage
        base: dict[str, Any] = {
            "visitor_id": visitor,
            "session_id": f"{visitor}-{start_ms:x}",
            "device": device,
            "channel": channel,
            "country": country,
            "variant": {"checkout_button": own.choice("AB")},
        }
        steps = self._steps(device, channel, COUNTRIES[country][1])
        at = start_ms
        for step, (name, fields) in enumerate(steps):
            broken = outage is not None and outage.device == device and outage.broken(at)
            if name == "purchase" and broken:
                name, fields = "page_view", {"page": "/checkout/error"}  # noqa: PLW2901
            yield {
                "event": name,
                "timestamp": at,
                "event_id": f"{visitor}-{start_ms:x}-{step}",
                "producer": outage.release(at) if outage is not None else "web-shop/2.14.0",
                **base,
                **fields,
            }
            at += 300 + int(draw.expovariate(1 / (1000 * self.profile.think_s)))

    def _steps(self, device: str, channel: str, currency: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """What happens in a session, with the fields of each event."""
        draw = self._random
        readiness = math.sqrt(DEVICES[device][1] * CHANNELS[channel][1])
        yield "page_view", {"page": "/"}
        while draw.random() < 0.45:
            yield "page_view", {"page": f"/c/{draw.randrange(12)}"}
        if draw.random() < P_PRICING_LINK:
            yield "click", {"page": "/", "properties": {"link": "pricing"}}
        if draw.random() < P_SIGN_UP:
            yield "sign_up", {"page": "/newsletter", "properties": {"form": "newsletter"}}
        if draw.random() >= P_VIEW_ITEM:
            return
        brand = BRANDS[min(int(draw.expovariate(0.35)), len(BRANDS) - 1)]
        cents = int(math.exp(draw.gauss(8.2, 0.7)))
        item = {"page": f"/p/{draw.randrange(2_000)}", "properties": {"brand": brand}}
        yield "view_item", item
        if draw.random() >= P_CART * readiness:
            return
        yield "add_to_cart", item
        if draw.random() >= P_CHECKOUT * readiness:
            return
        yield "begin_checkout", {"page": "/checkout", "properties": {"brand": brand}}
        if draw.random() >= P_PURCHASE:
            return
        paid = {
            "page": "/checkout/thanks",
            "value": f"{cents // 100}.{cents % 100:02d}",
            "currency": currency,
            "transaction_id": f"t-{draw.getrandbits(48):012x}",
            "properties": {"brand": brand},
        }
        yield "purchase", paid


def _choose(draw: random.Random, shares: Mapping[str, tuple[float, Any]]) -> str:
    left = draw.random()
    for name, (share, _) in shares.items():  # noqa: B007 - the last one takes what rounding leaves
        left -= share
        if left < 0:
            break
    return name


async def publish_traffic(
    bootstrap: str,
    topic: str,
    shop: Shop,
    *,
    stop: asyncio.Event | None = None,
    until_ms: int | None = None,
    on_sent: Callable[[int, int], None] = lambda _count, _time_ms: None,
    clock: Callable[[], float] = time.time,
    **client_kwargs: Any,
) -> int:
    """Sends a shop's events as they happen; those before now, if it opened in the past, as fast as they go.

    Args:
        bootstrap: `host:port`, several with commas.
        topic: Where to; must exist.
        shop: Whose events.
        stop: Ends it when set; None = runs until `until_ms` or until it is cancelled.
        until_ms: Event time at which to end, epoch ms.
        on_sent: Told, about 20 times a second, how many events were sent so far and up to which event time.
        clock: Epoch seconds.
        client_kwargs: Further arguments of the aiokafka client.

    Returns:
        Number of events sent.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", linger_ms=LINGER_MS, max_batch_size=1 << 17, **client_kwargs
    )
    await producer.start()
    sent = 0
    try:
        while not (stop is not None and stop.is_set()):
            now_ms = int(clock() * 1000)
            end_ms = now_ms if until_ms is None else min(now_ms, until_ms)
            for event in shop.until(min(end_ms, shop.arrived_ms + STEP_MS)):
                await producer.send(topic, orjson.dumps(event), key=event["visitor_id"].encode())
                sent += 1
            on_sent(sent, shop.arrived_ms)
            if until_ms is not None and shop.arrived_ms >= until_ms:
                break
            await asyncio.sleep(TICK_S if shop.arrived_ms >= end_ms else 0)
    finally:
        await producer.stop()
    return sent
