"""`conversion-monitor schema`: JSON Schema of an event or of the config file."""

from __future__ import annotations

import click
import orjson

from streams.schemas import config_schema, event_schema

_EPILOG = """\b
Examples:
  conversion-monitor schema config > monitor.schema.json
  # and as the first line of monitor.yaml, for editors:
  # yaml-language-server: $schema=monitor.schema.json
"""


@click.command(name="schema", epilog=_EPILOG)
@click.argument("what", type=click.Choice(["event", "config"]))
@click.option("--json", "as_json", is_flag=True, help="Accepted for symmetry: the output is always JSON.")
def command(what: str, as_json: bool) -> None:
    """Print the JSON Schema (draft 2020-12) of an event or of the config file."""
    del as_json
    schema = event_schema() if what == "event" else config_schema()
    click.echo(orjson.dumps(schema, option=orjson.OPT_INDENT_2))
