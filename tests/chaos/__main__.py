"""`python -m tests.chaos`: every failure there is, under load, on Apache Kafka; all numbers exact after each.

Prints its seed; `--seed` repeats a run as far as the moments of a busy machine can be repeated. A run of the
long form writes docs/chaos.md.
"""

from __future__ import annotations

import argparse
import logging
import random
import secrets
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.brokers import KafkaUnavailableError
from tests.chaos.plan import Wanted, long_plan, short_plan
from tests.chaos.report import document
from tests.chaos.run import RATE, Run

DOCUMENT = Path(__file__).parents[2] / "docs" / "chaos.md"


def main() -> int:
    """Exit code 0 if everything was exact, 1 if not, 2 without Apache Kafka."""
    given = _arguments()
    seed = given.seed if given.seed is not None else secrets.randbelow(900_000) + 100_000
    rng = random.Random(seed)
    wanted = Wanted(given.kills, given.rebalances, given.restarts, given.zombies)
    plan = short_plan(rng) if given.short else long_plan(rng, wanted)
    if given.only:
        plan = [kind for kind in plan if given.only in kind.name]
    print(f"seed {seed}: {len(plan)} episodes", flush=True)
    # So that all that was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # A broker that is killed does not answer: the clients of the tests need not tell.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    directory = Path(tempfile.mkdtemp(prefix="conversion-monitor-chaos-"))
    run = Run(
        directory,
        seed,
        rate=given.rate,
        hold=lambda: given.wait_while is not None and given.wait_while.exists(),
    )
    try:
        done = run.play(plan)
    except KafkaUnavailableError as error:
        print(f"Apache Kafka is needed: {error}", file=sys.stderr)
        return 2
    print(run.closing())
    if not given.short and not given.only:
        DOCUMENT.write_text(document(run, _options(given)))
    if not done:
        return 1
    shutil.rmtree(directory)
    return 0


def _options(given: argparse.Namespace) -> str:
    """Those of the command that shape the plan and differ from their defaults."""
    names = ("kills", "rebalances", "restarts", "zombies")
    told = [(name, getattr(given, name)) for name in names]
    return "".join(f" --{name} {number}" for name, number in told if number != getattr(Wanted, name))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--short", action="store_true", help="each kind of episode once, about four minutes")
    parser.add_argument("--seed", type=int, help="repeat a run; without it a fresh one")
    parser.add_argument("--kills", type=int, default=Wanted.kills, help="kill -9 of workers (%(default)s)")
    parser.add_argument("--rebalances", type=int, default=Wanted.rebalances, help="(%(default)s)")
    parser.add_argument("--restarts", type=int, default=Wanted.restarts, help="of the broker (%(default)s)")
    parser.add_argument("--zombies", type=int, default=Wanted.zombies, help="workers that hang (%(default)s)")
    parser.add_argument("--rate", type=float, default=RATE, help="events a second (%(default)g)")
    parser.add_argument("--only", metavar="NAME", help="only episodes whose name contains this")
    parser.add_argument("--wait-while", type=Path, metavar="FILE", help="no episode begins while FILE exists")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
