"""`python -m tests.detection`: the acceptance table on fresh seeds; writes it into docs/detection.md."""

from __future__ import annotations

import argparse
import json
import re
import secrets
import sys
from pathlib import Path

from tests.benchmarks.detection_cost import run as detection_cost
from tests.detection.acceptance import criteria, markdown, measure

DOCS = Path(__file__).parents[2] / "docs" / "detection.md"
BEGIN, END = "<!-- acceptance:begin -->", "<!-- acceptance:end -->"


def main() -> int:
    """Exit 0 if all of the must column holds, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.detection", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="repeat a run; without it a fresh one")
    parser.add_argument("--units", type=int, default=24, help="streams of a class and traffic level")
    parser.add_argument("--minutes", type=float, default=14.0, help="time to spend at most")
    parser.add_argument("--dry", action="store_true", help="do not write docs/detection.md")
    parser.add_argument("--json", action="store_true", help="criteria as JSON")
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else secrets.randbelow(900_000) + 100_000
    report = measure(
        seed, args.units, lambda line: print(line, file=sys.stderr, flush=True), args.minutes * 60
    )
    report.cost_us = float(detection_cost()["us_per_series_minute"])
    text = markdown(report)
    if not args.dry and DOCS.exists():
        page = DOCS.read_text(encoding="utf-8")
        page = re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{text}{END}", page, flags=re.DOTALL)
        DOCS.write_text(page, encoding="utf-8")
    table = criteria(report)
    if args.json:
        print(json.dumps([{**c.__dict__, "verdict": c.verdict} for c in table], indent=1))
    else:
        print(text)
    return int(any(c.verdict == "FAIL" for c in table))


if __name__ == "__main__":
    sys.exit(main())
