"""`python -m tests.benchmarks`: speed, memory and freshness of a worker on Apache Kafka.

Speeds are ratios to a bare aiokafka + orjson loop of the same run: absolute figures of another machine say
little. A run of everything writes docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.benchmarks import cost, flood, live, report, scaling, throughput
from tests.benchmarks.figures import Figure, aligned, table
from tests.benchmarks.stage import PROJECT, Stage, say, stop_all_on_sigterm
from tests.brokers import KafkaUnavailableError

DOCUMENT = PROJECT / "docs" / "benchmarks.md"
#: What `--only` takes; in the order in which they are measured.
NAMES = ("lifelike", "worst", *live.NAMES, "scaling", "flood", "growth", "scrape", "detection")
#: What takes longest, and is left out without `--full`.
ONLY_FULL = frozenset({"flood"})


def main() -> int:
    """Measure, print the table; exit code 1 if a figure misses its bound."""
    given = _arguments()
    stop_all_on_sigterm()
    everything = [name for name in NAMES if given.full or name not in ONLY_FULL]
    wanted = given.only or (["lifelike"] if given.quick else everything)
    began = time.monotonic()
    try:
        figures = measure(wanted, quick=given.quick, full=given.full)
    except KafkaUnavailableError as error:
        print(f"Apache Kafka is needed: {error}", file=sys.stderr)
        return 2
    minutes = (time.monotonic() - began) / 60
    print(f"\n{aligned(table(figures))}\n\n{minutes:.1f} minutes")
    if wanted == everything:
        DOCUMENT.write_text(report.document(figures, full=given.full))
        print(f"written to {DOCUMENT.relative_to(PROJECT)}")
    else:
        print(f"{DOCUMENT.relative_to(PROJECT)} is written by a run of everything")
    return 1 if any(figure.verdict == "FAIL" for figure in figures) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="the main figure only, 300,000 events, about a minute"
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="memory and restart with 1 M live visitors, not 300,000; and a flood of 10 M",
    )
    parser.add_argument(
        "--only", action="append", choices=NAMES, metavar="NAME", help=f"one of {', '.join(NAMES)}"
    )
    return parser.parse_args()


def measure(wanted: Sequence[str], *, quick: bool, full: bool) -> list[Figure]:
    """The figures of everything that is wanted."""
    figures: list[Figure] = []

    def part(name: str, run: Callable[[], list[Figure]]) -> None:
        print(f"{name} …", flush=True)
        figures.extend(run())

    if set(wanted) - {"growth", "scrape", "detection"}:
        with tempfile.TemporaryDirectory(prefix="conversion-monitor-bench-") as directory:
            say("starting Apache Kafka")
            with Stage(Path(directory)) as stage:
                _on_kafka(stage, wanted, part, quick=quick, full=full)
    if "growth" in wanted:
        part("growth", cost.growth)
    if "scrape" in wanted:
        part("scrape", cost.scrape)
    if "detection" in wanted:
        part("detection", cost.detection)
    return figures


def _on_kafka(
    stage: Stage,
    wanted: Sequence[str],
    part: Callable[[str, Callable[[], list[Figure]]], None],
    *,
    quick: bool,
    full: bool,
) -> None:
    rate = 0.0

    def main_figure(events: int, rounds: int) -> list[Figure]:
        nonlocal rate
        found, rate = throughput.lifelike(stage, events, rounds)
        return found

    if "lifelike" in wanted:
        events = throughput.QUICK_EVENTS if quick else throughput.EVENTS
        part("lifelike", lambda: main_figure(events, throughput.ROUNDS))
    if "worst" in wanted:
        part("worst", lambda: throughput.worst(stage, throughput.EVENTS // 2, throughput.ROUNDS))
    at_once = [name for name in live.NAMES if name in wanted]
    if at_once:
        if {"steady", "hot", "catchup"} & set(at_once) and not rate:
            print("the full rate …", flush=True)
            main_figure(throughput.QUICK_EVENTS, 1)
        visitors = live.FULL_VISITORS if full else live.VISITORS
        part(", ".join(at_once), lambda: live.live(stage, visitors, rate / 2, at_once))
    if "scaling" in wanted:
        part("scaling", lambda: scaling.scaling(stage))
    if "flood" in wanted:
        part("flood", lambda: flood.flood(stage))


if __name__ == "__main__":
    sys.exit(main())
