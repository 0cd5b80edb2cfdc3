"""What can happen to the broker and to the network, and messages that are larger than a broker takes."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.crowd import many_values
from tests.chaos.episodes import Kind
from tests.chaos.network import Link, Mode
from tests.chaos.stage import EVENT_BYTES, PARTITIONS, Life

#: A cut that the group does not notice, and one that is longer than the session timeout of 6 s; seconds.
SHORT_S, LONG_S = (0.5, 4.0), (7.0, 13.0)


def broker_killed(life: Life, rng: random.Random) -> str:
    """kill -9 of the broker and a start on the same data."""
    time.sleep(rng.uniform(0.5, 3.0))
    life.stage.broker.kill()
    away_s = rng.choice([0.0, rng.uniform(*SHORT_S), rng.uniform(*LONG_S)])
    time.sleep(away_s)
    asyncio.run(life.stage.broker.start())
    time.sleep(rng.uniform(1.0, 3.0))
    return f"away for {away_s:.1f} s and its start"


def broker_restarted(life: Life, rng: random.Random) -> str:
    """A broker that says goodbye, as in an upgrade."""
    time.sleep(rng.uniform(0.5, 3.0))
    life.stage.broker.stop()
    asyncio.run(life.stage.broker.start())
    time.sleep(rng.uniform(1.0, 3.0))
    return "at once"


@dataclass(frozen=True)
class Cut:
    """One worker, or all of them, cannot reach the broker well for a while.

    Attributes:
        name: The way in which it is cut.
        what: In a sentence.
        begin: Cuts a link.
    """

    name: str
    what: str
    begin: Callable[[Link, random.Random], None]

    def __call__(self, life: Life, rng: random.Random) -> str:
        life.staff(max(2, len(life.running)), rng)
        everybody = rng.random() < 0.3
        links = [life.links[life.workers.index(worker)] for worker in life.running]
        links = links if everybody else [rng.choice(links)]
        lasts_s = rng.uniform(*rng.choice([SHORT_S, LONG_S]))
        lost = rng.random() < 0.5
        time.sleep(rng.uniform(0.5, 2.0))
        for link in links:
            self.begin(link, rng)
        time.sleep(lasts_s)
        for link in links:
            if link.mode != "open" and lost:
                link.drop()  # what stood still never arrives
            link.heal()
        time.sleep(rng.uniform(1.0, 3.0))
        return f"for {lasts_s:.1f} s, {'all workers' if everybody else 'one worker'}"


def _refuse(link: Link, _: random.Random) -> None:
    link.mode = "refused"
    link.drop()


def _mode(mode: Mode) -> Callable[[Link, random.Random], None]:
    def begin(link: Link, _: random.Random) -> None:
        link.mode = mode

    return begin


def _slow_down(link: Link, rng: random.Random) -> None:
    link.delay_s = rng.choice([0.1, 0.5, 1.5])


CUTS = (
    Cut("dropped", "all connections end at once, new ones are made", lambda link, _: link.drop()),
    Cut("refused", "all connections end, and new ones too, for a while", _refuse),
    Cut("stalled", "connections stand, nothing passes for a while", _mode("stalled")),
    Cut("deaf", "requests pass, answers do not for a while", _mode("deaf")),
    Cut("mute", "answers pass, requests do not for a while", _mode("mute")),
    Cut("slow", "everything is delayed, each piece by another time", _slow_down),
    Cut(
        "half-closed", "connections end for the worker, not for the broker", lambda link, _: link.half_close()
    ),
)


def oversize(life: Life, rng: random.Random) -> str:
    """Messages about as large as a topic takes, and larger than others take, one worker killed among them."""
    sizes = [300 << 10, (1 << 20) - 200, 1 << 20, (1 << 20) + 4_000, EVENT_BYTES - 400]
    for size in rng.sample(sizes, len(sizes)):
        value = rng.randbytes(size // 2).hex().encode()
        life.bad.append(value)
        life.publisher.insert(rng.randrange(PARTITIONS), b"visitor-1", value)
        time.sleep(rng.uniform(0.0, 0.5))
    victim = rng.choice(life.running)
    victim.kill()
    victim.start()
    life.ready()
    return f"{len(sizes)} messages of up to {EVENT_BYTES >> 20} MB"


OUTAGE_KINDS = (
    Kind("broker killed", "restart", broker_killed),
    Kind("broker restarted", "restart", broker_restarted),
    *(Kind(f"network {cut.name}", "other", cut) for cut in CUTS),
    Kind("messages over the limit", "other", oversize),
    Kind("many segment values", "other", many_values),
)
