"""docs/benchmarks.md, written from the figures of a run of everything."""

from __future__ import annotations

from collections.abc import Sequence

from tests.benchmarks.figures import Figure, machine, markdown, table, today
from tests.benchmarks.live import OUTAGE_EVENTS

_TEXT = """# Benchmarks

Written by `make bench`{option} on {date}. Machine: {machine}.

Speeds are ratios to a bare aiokafka consumer that decodes every event with orjson and does nothing with it,
on the same topic, in the same run, each the median of three rounds. Kafka, publishers and the worker share
the machine; where threads waited long for a core, other programs were busy too, and the ratio of CPU is the
better figure.

{table}

What was measured:

* **Lifelike**: 1 M events of about 280 bytes, 4 partitions, event ids, sessions, three dimensions, three
  goals (one with revenue), windows of 1m, 5m, 1h and 24h, visitors by a law of Zipf (exponent 0.8; three
  quarters of them come three times or more), state saved every 5 s. From the first to the last counted
  event; that every event was counted, none late or rejected, is checked.
* **Every event a new visitor**: 500,000 events of as many visitors over 22 hours of event time.
* **Half load**: a publisher sends half as many events a second as the worker counted at most; marked events
  are published 23 times a second, and looked for every 50 ms.
* **After an outage**: as many events as ten minutes at half load would bring, up to {outage:,}, wait when the worker
  starts; its rate ÷ the rate of the first line, which has fewer live visitors.
* **A hot partition**: four of five events go to one partition; marked events go to the others.
* **A flood of visitors**: fifteen million visitors with an event each within 20 hours, under the default limits.
* **Growth**: decoding and counting alone, in batches of 10,000, of visitors who live already; each case in a
  process of its own, in turn, so that disturbances fall on all alike.

`python -m tests.benchmarks --help` says how to measure a part, `--quick` the main figure in about a minute.
"""


def document(figures: Sequence[Figure], *, full: bool) -> str:
    """The whole file."""
    option = " with `--full`" if full else ""
    return _TEXT.format(
        option=option, date=today(), machine=machine(), table=markdown(table(figures)), outage=OUTAGE_EVENTS
    )
