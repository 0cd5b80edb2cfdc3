"""A run: its episodes one after the other, in lives of bounded length, each followed by the comparison."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.episodes import Kind
from tests.chaos.stage import Life, MismatchError, Stage
from tests.chaos.watcher import STALE_S, Fall, summary

#: Usual load, events a second.
RATE = 3_000.0
#: Episodes of one life at most, and how much load it has for each, seconds; it ends before them if that is not enough.
EPISODES, SECONDS = 25, 14
#: Answers with totals of two workers at once that are worth a line: what passes within half a second is not.
TWICE = 10
#: Load that an episode must find at its beginning, seconds.
LEFT_S = 30


@dataclass
class Done:
    """An episode that is over.

    Attributes:
        kind: What it was.
        told: What exactly happened.
        life: Number of the life that it happened to.
        seconds: How long it took, with the comparison.
        events: Messages published while it lasted.
        noticed: What was noticed and is no mismatch, a line each.
        falls: Totals that were lower than told before.
        mismatch: What was not exact; empty if all was.
    """

    kind: Kind
    told: str
    life: int
    seconds: float
    events: int
    noticed: list[str] = field(default_factory=list)
    falls: list[Fall] = field(default_factory=list)
    mismatch: str = ""


@dataclass(frozen=True)
class Lived:
    """What was seen of a life that is over.

    Attributes:
        number: Of the life.
        seed: Of its events.
        checked: Messages between the stages that were compared.
        ignored: Of them those of zombies.
        claims: How often a partition was claimed.
        steps_back: Events by which a new owner was behind the one before.
        answers: Answers with totals.
        changes: How many of them were new.
        doubles: Answers while another worker had answered with totals, too.
        incomplete: Answers that said that the totals stand still.
    """

    number: int
    seed: int
    checked: int
    ignored: int
    claims: int
    steps_back: list[int]
    answers: int
    changes: int
    doubles: int
    incomplete: int


class Run:
    """Plays episodes.

    Args:
        directory: For the broker's data, configs and logs.
        seed: Of the run, to say it.
        rate: Load, events a second.
        hold: Whether the next episode is to wait, for a machine that others need.
    """

    def __init__(
        self, directory: Path, seed: int, rate: float = RATE, hold: Callable[[], bool] = lambda: False
    ) -> None:
        self.directory, self.seed, self.rate, self._hold = directory, seed, rate, hold
        self.done: list[Done] = []
        self.lives: list[Lived] = []
        self._began = time.monotonic()

    @property
    def exact(self) -> bool:
        return not any(done.mismatch for done in self.done)

    def play(self, plan: Sequence[Kind]) -> bool:
        """Whether all was exact; ends at the first mismatch.

        Raises:
            KafkaUnavailableError: It cannot be had here.
            PublisherError: The load failed.
        """
        with Stage(self.directory) as stage:
            left = list(plan)
            for number in range(1, len(plan) + 1):
                if not left or not self.exact:
                    break
                part = left[:EPISODES]
                events = int(self.rate * (SECONDS * len(part) + LEFT_S))
                life = Life(stage, number, events, self._drawn("life", number).randrange(1 << 32), self.rate)
                with life.lived():
                    played = self._live(life, part)
                self.lives.append(_lived(life))
                left = left[played:]
        return self.exact

    def _live(self, life: Life, plan: Sequence[Kind]) -> int:
        """How many of the episodes it had: the events may be over before them."""
        life.publisher.rate = life.rate
        life.workers[0].start()
        life.ready()
        for played, kind in enumerate(plan):
            if life.publisher.left < life.rate * LEFT_S:
                return played
            while self._hold():
                time.sleep(5)
            done = self._episode(life, kind, self._drawn("episode", len(self.done)))
            self.done.append(done)
            self._say(done)
            if done.mismatch:
                break
        return len(plan)

    def _drawn(self, what: str, number: int) -> random.Random:
        """A generator for one thing alone: it draws the same whatever happened before."""
        return random.Random(f"{self.seed} {what} {number}")

    def _episode(self, life: Life, kind: Kind, rng: random.Random) -> Done:
        began, before, doubles = time.monotonic(), life.publisher.sent, life.watcher.doubles
        done = Done(kind, "", life.number, 0.0, 0)
        life.publisher.rate = life.rate
        try:
            done.told = kind.play(life, rng)
            done.noticed = life.settle()
        except (AssertionError, MismatchError) as error:
            done.mismatch = str(error) or repr(error)
        done.falls = life.watcher.take_falls()
        if (twice := life.watcher.doubles - doubles) >= TWICE:
            done.noticed.append(f"two workers gave totals at once, in {twice} answers")
        done.seconds = time.monotonic() - began
        done.events = life.publisher.sent - before
        return done

    def _say(self, done: Done) -> None:
        at = time.monotonic() - self._began
        verdict = "NOT EXACT" if done.mismatch else "exact"
        print(
            f"{at:7.1f} s  {len(self.done):3d} {done.kind.name}: {done.told or '(broke off)'}; "
            f"{done.seconds:.1f} s, {done.events} messages, {verdict}",
            flush=True,
        )
        for line in [*done.noticed, *summary(done.falls)]:
            print(f"               {line}", flush=True)
        if done.mismatch:
            print(done.mismatch, flush=True)
            print(f"seed {self.seed}; logs in {self.directory}", flush=True)

    def closing(self) -> str:
        """The last line of a run."""
        lives = self.lives
        said = f"seed {self.seed}: {len(self.done)} episodes, {'all exact' if self.exact else 'NOT EXACT'}; "
        said += f"{sum(life.checked for life in lives)} messages between the stages compared, "
        said += f"{sum(life.ignored for life in lives)} of zombies among them passed over, "
        said += f"{sum(life.claims for life in lives)} claims; "
        said += f"{sum(life.answers for life in lives)} answers with totals, "
        said += f"{sum(life.changes for life in lives)} new, "
        said += f"{sum(life.incomplete for life in lives)} standing still, "
        return said + f"{sum(life.doubles for life in lives)} of two workers at once"

    def falls_said(self) -> str:
        """How often a total was lower than told before, for the report."""
        falls = [fall for done in self.done for fall in done.falls]
        if not falls:
            return ", and none ever fell"
        episodes = sum(bool(done.falls) for done in self.done)
        longest = max(fall.seconds or 0.0 for fall in falls)
        worst = max(1 - fall.lowest / fall.before for fall in falls)
        return (
            f". In {episodes} episodes a worker told less than another had told, as if it were of now: for "
            f"{longest:.1f} s and by {float(worst):.1%} at most, never 0 and never what was older than "
            f"{STALE_S:g} s"
        )

    def noticed(self) -> list[str]:
        """All that was noticed, for the report."""
        return [
            f"{done.kind.name}: {line}"
            for done in self.done
            for line in [*done.noticed, *done.mismatch.splitlines()[:20]]
        ]


def _lived(life: Life) -> Lived:
    audit, watcher = life.audit, life.watcher
    return Lived(
        life.number,
        life.seed,
        audit.checked,
        audit.ignored,
        audit.claims,
        audit.steps_back,
        watcher.answers,
        watcher.changes,
        watcher.doubles,
        watcher.incomplete,
    )
