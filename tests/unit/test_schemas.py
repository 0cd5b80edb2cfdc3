import json
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from streams.errors import ConfigError
from streams.events import Event
from streams.schemas import config_schema, event_schema
from streams.settings import parse_settings
from tests.unit.test_settings import BAD, BAD_GOALS, ENVIRON, EXAMPLES, GOALS

#: What only `check-config` can find: two values that contradict each other, the conversion contract, bounds
#: of durations, doubled keys, and the environment. A part of the reason is enough to tell.
BEYOND_A_SCHEMA = (
    "writes to",
    "cannot keep",
    "does not speak",
    "needs a",
    "no use with",
    "panes",
    " again",
    "is there twice",
    "at least 1s",
    "not less than",
    "shorter than",
    "as device does",
    "there twice",
    "no field brand",
    "ends before",
    "says nothing",
    "no goal",
    "no dimension",
    "without its dimension",
    "names no series",
    "is not set",
    "no reference",
    "twice, first",
    "contains itself",
    "must be a word",
    "cannot be a view",
    "any click",
    "no currency",
    "is no date",
    "no number",  # .nan, which JSON cannot even write
)


def load(text):
    # Dates and times stay texts for a validator, as an editor sees them.
    return YAML(typ="safe", pure=True).load(text)


def as_json(value):
    return json.loads(json.dumps(value, default=lambda other: other.isoformat()))


def valid(text):
    return Draft202012Validator(config_schema()).is_valid(as_json(load(text)))


@pytest.mark.parametrize("schema", [config_schema(), event_schema()], ids=["config", "event"])
def test_a_schema_is_valid_by_the_meta_schema(schema):
    Draft202012Validator.check_schema(schema)


def described(schema, path="$"):
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}.{name}", inner
        yield from described(inner, f"{path}.{name}")
    for option in schema.get("anyOf", []):
        yield from described(option, path)
    if isinstance(schema.get("items"), dict):
        yield from described(schema["items"], f"{path}[]")
    for name, inner in schema.get("$defs", {}).items():
        yield f"{path}#{name}", inner
        yield from described(inner, f"{path}#{name}")


@pytest.mark.parametrize("schema", [config_schema(), event_schema()], ids=["config", "event"])
def test_every_key_is_described(schema):
    found = dict(described(schema))
    assert len(found) >= 15
    assert [path for path, inner in found.items() if not inner.get("description")] == []


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_accepts_the_examples(path: Path):
    text = path.read_text("utf-8")
    assert parse_settings(text, ENVIRON)
    errors = list(Draft202012Validator(config_schema()).iter_errors(as_json(load(text))))
    assert errors == []


CASES = [(f"{case[0]}\n{GOALS}", case[3]) for case in BAD]
CASES += [(f"goals: {goals}", reason) for goals, _, reason, _ in BAD_GOALS]


@pytest.mark.parametrize(("text", "reason"), CASES, ids=[case[0][:60] for case in CASES])
def test_reader_and_schema_refuse_the_same(text, reason):
    with pytest.raises(ConfigError):
        parse_settings(text, {})
    if any(part in reason for part in BEYOND_A_SCHEMA):
        return
    if "out of bounds" in reason and any(unit in text for unit in ("idle_after", "checkpoint_", "dedupe_")):
        return
    assert not valid(text)


def test_the_schema_knows_every_key_that_the_reader_knows():
    reference = as_json(load((EXAMPLES / "reference.yaml").read_text("utf-8")))
    schema = config_schema()
    assert set(schema["properties"]) == set(reference)
    for section in ("kafka", "http", "privacy", "detection", "limits"):
        assert set(schema["properties"][section]["properties"]) == set(reference[section])
    assert set(schema["$defs"]["goal"]["properties"]) == set(reference["goals"]["purchase"])


def test_the_defaults_of_the_schema_are_those_of_the_reference():
    reference = as_json(load((EXAMPLES / "reference.yaml").read_text("utf-8")))
    reference["privacy"]["salt"] = ""
    schema = config_schema()["properties"]
    for key, value in reference.items():
        if "default" in schema[key]:
            assert schema[key]["default"] == value
        for inner, shape in schema[key].get("properties", {}).items():
            if "default" in shape:
                assert shape["default"] == value[inner], inner


EVENT = {"event": "purchase", "visitor_id": "v", "timestamp": 1_700_000_000_000}


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ({}, True),
        ({"timestamp": "2026-11-27T08:00:00.250Z"}, True),
        ({"value": "19.99", "currency": "EUR"}, True),
        ({"value": 19.99}, True),
        ({"properties": {"a": 1, "b": None, "c": True}}, True),
        ({"variant": {"checkout": "b"}}, True),
        ({"device": None}, True),
        ({"unknown": [1]}, True),
        ({"visitor_id": ""}, False),
        ({"visitor_id": None}, False),
        ({"visitor_id": "v" * 129}, False),
        ({"event": "a" * 65}, False),
        ({"event": 5}, False),
        ({"timestamp": True}, False),
        ({"page": "p" * 2_049}, False),
        ({"properties": {"a": [1]}}, False),
        ({"variant": {"checkout": 1}}, False),
        ({"event_id": ""}, False),
    ],
)
def test_event_schema_and_decoder_agree(change, good):
    event = {**EVENT, **change}
    assert Draft202012Validator(event_schema()).is_valid(event) is good
    try:
        msgspec.json.decode(json.dumps(event), type=Event)
    except msgspec.ValidationError:
        assert not good
    else:
        assert good


def test_the_event_schema_has_every_field_of_the_contract():
    fields = {field.name: field.required for field in msgspec.structs.fields(Event)}
    schema = event_schema()
    assert set(schema["properties"]) == set(fields)
    assert set(schema["required"]) == {name for name, required in fields.items() if required}
