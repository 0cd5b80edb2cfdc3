"""docs/chaos.md, written from a run of the long form."""

from __future__ import annotations

from collections.abc import Sequence

from tests.benchmarks.figures import machine, today
from tests.brokers import KAFKA_VERSION
from tests.chaos.plan import KINDS
from tests.chaos.run import Done, Run

_TEXT = """# Chaos

Written by `make chaos` on {date}. Machine: {machine}. Apache Kafka {kafka}, one node, 4 partitions, up to 4
workers with a checkpoint every second, {rate:g} events a second.

**Result: {result}.** {episodes} episodes in {minutes:.0f} minutes, {events} messages. Seed of the run: `{seed}`;
`python -m tests.chaos --seed {seed}{options}` plays the same episodes again, as far as a busy machine lets their
moments repeat.

{table}

What was compared after each episode, with the truth that is worked out from the columns of the load (which the
unit tests compare with the separately written oracle):

* visitors, sessions, converters, conversions, converting sessions and revenue of every window and segment, as
  each running worker tells them;
* the committed offset of every partition with its end;
* the dead letters with the bad messages that were sent: each is there, byte for byte, and no good event;
* every message between the stages, {audited} in all, with the truth about a prefix of its partition: visitors,
  converters, conversions and revenue of the window that holds all events;
* what the workers told on the way, asked every 0.1 s: no total of that window was ever above the truth{falls}.
  Of {answers} answers with totals {changes} were new, {incomplete} said `conversion_snapshot_complete` 0 (a partition
  was missing, and the totals stood still), and {doubles} came while another worker gave totals, too.

## Lives

Episodes happen to one group after the other; a new one (topic, group, state) begins after some of them.

{lives}

## Noticed

{noticed}
"""


def document(run: Run, options: str) -> str:
    """The whole file; `options`: those of the command beside the seed."""
    bad = [done for done in run.done if done.mismatch]
    noticed = [f"* {line}" for line in run.noticed()]
    return _TEXT.format(
        date=today(),
        machine=machine(),
        kafka=KAFKA_VERSION,
        rate=run.rate,
        result="every number was exact after every episode" if not bad else "NOT exact, see below",
        episodes=len(run.done),
        minutes=sum(done.seconds for done in run.done) / 60,
        events=f"{sum(done.events for done in run.done):,}",
        seed=run.seed,
        options=options,
        table=_episodes(run.done),
        audited=f"{sum(life.checked for life in run.lives):,}",
        answers=f"{sum(life.answers for life in run.lives):,}",
        changes=f"{sum(life.changes for life in run.lives):,}",
        incomplete=f"{sum(life.incomplete for life in run.lives):,}",
        doubles=f"{sum(life.doubles for life in run.lives):,}",
        falls=run.falls_said(),
        lives=_lives(run),
        noticed="\n".join(noticed) or "Nothing else.",
    )


def _episodes(found: Sequence[Done]) -> str:
    lines = ["| episode | what | how many | exact | seconds each, longest |", "|---|---|---|---|---|"]
    for kind in KINDS:
        of_kind = [done for done in found if done.kind.name == kind.name]
        if of_kind:
            exact = sum(not done.mismatch for done in of_kind)
            seconds = [done.seconds for done in of_kind]
            lines.append(
                f"| {kind.name} | {kind.what} | {len(of_kind)} | {exact} "
                f"| {sum(seconds) / len(seconds):.0f}, {max(seconds):.0f} |"
            )
    return "\n".join(lines)


def _lives(run: Run) -> str:
    lines = ["| life | seed of its events | episodes | messages | claims | told by zombies, ignored |"]
    lines.append("|---|---|---|---|---|---|")
    for life in run.lives:
        of_life = [done for done in run.done if done.life == life.number]
        messages = sum(done.events for done in of_life)
        lines.append(
            f"| {life.number} | {life.seed} | {len(of_life)} | {messages:,} | {life.claims} | {life.ignored} |"
        )
    return "\n".join(lines)
