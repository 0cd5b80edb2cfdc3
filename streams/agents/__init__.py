"""Faust agents: each body is wiring, what it decides is in `monitor` and `streams.pipeline`."""

from __future__ import annotations

from typing import Any

from streams.agents import rates, rekey, visitors
from streams.pipeline import Pipeline


def register_agents(app: Any, pipeline: Pipeline) -> None:
    """Attach all agents; this is the list of them."""
    visitors.register(app, pipeline)
    rates.register(app, pipeline)
    if not pipeline.settings.kafka.keyed_by_visitor:
        rekey.register(app, pipeline)
