"""What can happen to workers: killed, told to stop, hung, joined by others, left alone with a backlog.

An episode gets a life with at least one ready worker and events flowing, and leaves it with at least one
running. It returns a few words on what exactly happened.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.network import FETCH, JOIN_GROUP, OFFSET_COMMIT, PRODUCE, SYNC_GROUP, Link, Trap, When
from tests.chaos.stage import WORKERS, Life
from tests.worker import Worker

#: Longer than the session timeout of 6 s, so that the group gives the partitions of a hung worker away.
HANGS_S = (7.0, 12.0)
#: How long the moment is waited for at which a worker is to be killed, seconds; then it is killed anyway.
TRAP_S = 15.0
#: Events of a checkpoint after which none come: few enough to be counted and saved at once.
LAST_EVENTS = 300

Episode = Callable[[Life, random.Random], str]


@dataclass(frozen=True)
class Kind:
    """A kind of episode.

    Attributes:
        name: Its name in the report.
        sort: What it counts as: `kill`, `rebalance`, `restart`, `zombie` or `other`.
        play: Does it.
    """

    name: str
    sort: str
    play: Episode

    @property
    def what(self) -> str:
        """What happens, in a sentence without its full stop."""
        text = getattr(self.play, "what", None) or self.play.__doc__ or ""
        return " ".join(text.split()).removesuffix(".")


def kill(life: Life, rng: random.Random) -> str:
    """kill -9 at any moment, from before it has joined the group until well into its checkpoints."""
    number = rng.choice([1, 1, 2])
    life.staff(max(number, len(life.running)), rng)
    victim = rng.choice(life.running)
    if rng.random() < 0.3:
        victim.kill()
        victim.start()
    pause_s = rng.uniform(0.2, 6.0)
    time.sleep(pause_s)
    victim.kill()
    _return_later(victim, rng)
    return f"after {pause_s:.1f} s, {len(life.running)} workers"


def kill_in_checkpoint(life: Life, rng: random.Random) -> str:
    """kill -9 just before, half-way in or just after the write of a checkpoint, or its commit."""
    life.staff(max(len(life.running), rng.choice([1, 2])), rng)
    victim = rng.choice(life.running)
    when: When = rng.choice(["before", "half", "after"])
    commit, last = rng.random() < 0.3, rng.random() < 0.4
    time.sleep(rng.uniform(0.5, 3.0))
    api, about = (OFFSET_COMMIT, life.topic.encode()) if commit else (PRODUCE, life.changelog)
    if last:
        life.publisher.pause()
        time.sleep(2.5)  # so that all before is saved
    trap = _set(life, victim, api, about, when, victim.kill)
    if last:
        life.publisher.burst(LAST_EVENTS)
    hit = _wait(life, victim, trap)
    _return_later(victim, rng)
    after = ", and no event came after it" if last else ""
    return f"{when} the {'commit' if commit else 'write'}{hit}{after}"


def kill_in_rebalance(life: Life, rng: random.Random) -> str:
    """kill -9 at its request to join, or to get its partitions, while another one joins."""
    life.staff(max(1, min(len(life.running), WORKERS - 1)), rng)
    newcomer = rng.choice(life.stopped)
    victim = rng.choice([*life.running, newcomer])
    api, name = rng.choice([(JOIN_GROUP, "join"), (SYNC_GROUP, "sync")])
    when: When = rng.choice(["before", "half", "after"])
    trap = _set(life, victim, api, life.group.encode(), when, victim.kill)
    newcomer.start()
    hit = _wait(life, victim, trap)
    if rng.random() < 0.5:
        time.sleep(rng.uniform(0, 2.0))
    if not victim.running:
        victim.start()
    life.ready()
    return f"{when} {name} of {'the newcomer' if victim is newcomer else 'a member'}{hit}"


def kill_in_recovery(life: Life, rng: random.Random) -> str:
    """kill -9 while it reads its state back, once or twice, with events flowing; then it may."""
    everybody = rng.random() < 0.5
    for worker in life.running if everybody else rng.sample(life.running, 1):
        worker.kill()
    victim = rng.choice(life.stopped)
    hits = []
    for _ in range(rng.choice([1, 2])):
        when: When = rng.choice(["before", "after"])
        trap = _set(life, victim, FETCH, life.changelog, when, victim.kill)
        victim.start()
        hits.append(when + _wait(life, victim, trap))
        time.sleep(rng.uniform(0, 1.0))
    victim.start().wait_ready()
    return f"{' and '.join(hits)} a read of {'the only worker' if everybody else 'one of several'}"


def terminate(life: Life, rng: random.Random) -> str:
    """SIGTERM: a last checkpoint, exit 0 within 10 s; another one starts before or after."""
    victim = rng.choice(life.running)
    replaced = bool(life.stopped) and rng.random() < 0.5
    if replaced:
        rng.choice(life.stopped).start()
        time.sleep(rng.uniform(0, 5.0))
    time.sleep(rng.uniform(0.2, 3.0))
    life.terminate(victim)
    if not life.running or rng.random() < 0.5:
        time.sleep(rng.uniform(0, 2.0))
        victim.start()
    life.ready()
    return f"{'with' if replaced else 'without'} a replacement"


def zombie(life: Life, rng: random.Random) -> str:
    """SIGSTOP for longer than its session while another one takes over, SIGCONT."""
    life.staff(max(2, min(3, len(life.running))), rng)
    victim = rng.choice(life.running)
    time.sleep(rng.uniform(0.5, 3.0))
    pause_s = rng.uniform(*HANGS_S)
    victim.pause()
    time.sleep(pause_s)
    victim.resume()
    time.sleep(rng.uniform(1.0, 4.0))
    return f"hung for {pause_s:.1f} s"


def zombie_in_checkpoint(life: Life, rng: random.Random) -> str:
    """A worker hangs in the middle of a checkpoint; what it wrote arrives when another has its partitions."""
    life.staff(max(2, min(3, len(life.running))), rng)
    victim = rng.choice(life.running)
    link = _link(life, victim)
    time.sleep(rng.uniform(0.5, 2.0))
    api, about, name = rng.choice(
        [(PRODUCE, life.changelog, "checkpoint"), (OFFSET_COMMIT, life.topic.encode(), "commit")]
    )
    trap = _set(life, victim, api, about, "hold", victim.pause)
    hit = "" if trap.sprung.wait(TRAP_S) else " (not met)"
    if hit:
        link.trap = None
        victim.pause()
    pause_s = rng.uniform(*HANGS_S)
    time.sleep(pause_s)
    first = rng.random() < 0.5
    if first:
        link.release()
        time.sleep(rng.uniform(0.0, 1.0))
    victim.resume()
    time.sleep(rng.uniform(0.0, 1.0))
    link.release()
    time.sleep(2.0)
    return f"hung for {pause_s:.1f} s, its {name} arrived {'before' if first else 'after'} it woke{hit}"


def join_and_leave(life: Life, rng: random.Random) -> str:
    """From one worker to all and back to one; they leave by SIGTERM or kill -9."""
    life.staff(1, rng)
    while life.stopped:
        rng.choice(life.stopped).start()
        time.sleep(rng.uniform(0.0, 2.5))
    if rng.random() < 0.7:
        life.ready()
        time.sleep(rng.uniform(0.0, 2.0))
    left = []
    for worker in rng.sample(life.workers, WORKERS - 1):
        if rng.random() < 0.6:
            life.terminate(worker)
            left.append("stopped")
        else:
            worker.kill()
            left.append("killed")
        time.sleep(rng.uniform(0.0, 2.0))
    life.ready()
    return f"1 → {WORKERS} → 1, {', '.join(left)}"


def backlog(life: Life, rng: random.Random) -> str:
    """All stop; much is published; all start at once, and join and leave while they catch up."""
    life.publisher.rate = 0.0
    for worker in life.running:
        if rng.random() < 0.5:
            worker.kill()
        else:
            life.terminate(worker)
    number = int(life.rate * rng.uniform(5, 10))
    life.publisher.burst(number)
    life.publisher.rate = life.rate
    for worker in rng.sample(life.workers, rng.choice([2, 3, 4])):
        worker.start()
        time.sleep(rng.uniform(0.0, 2.0))
    leaver = rng.choice(life.running)
    time.sleep(rng.uniform(0.5, 4.0))
    if rng.random() < 0.5:
        leaver.kill()
    else:
        life.terminate(leaver)
    life.ready()
    return f"{number} events behind, {len(life.running) + 1} workers, one left"


def _link(life: Life, worker: Worker) -> Link:
    return life.links[life.workers.index(worker)]


def _set(life: Life, victim: Worker, api: int, about: bytes, when: When, strike: Callable[[], None]) -> Trap:
    trap = Trap(api, about, when, strike)
    _link(life, victim).trap = trap
    return trap


def _wait(life: Life, victim: Worker, trap: Trap) -> str:
    """Wait until the trap has killed; kill anyway if it does not, and say so."""
    if trap.sprung.wait(TRAP_S):
        return ""
    _link(life, victim).trap = None
    if victim.running:
        victim.kill()
    return " (not met)"


def _return_later(victim: Worker, rng: random.Random) -> None:
    """As an orchestrator does it: at once, or after a while."""
    if not victim.running:
        time.sleep(rng.choice([0.0, rng.uniform(0.0, 3.0)]))
        victim.start()


WORKER_KINDS = (
    Kind("kill", "kill", kill),
    Kind("kill in a checkpoint", "kill", kill_in_checkpoint),
    Kind("kill in a rebalance", "kill", kill_in_rebalance),
    Kind("kill in recovery", "kill", kill_in_recovery),
    Kind("stop", "other", terminate),
    Kind("zombie", "zombie", zombie),
    Kind("zombie in a checkpoint", "zombie", zombie_in_checkpoint),
    Kind("join and leave", "rebalance", join_and_leave),
    Kind("rebalance in a backlog", "rebalance", backlog),
)
