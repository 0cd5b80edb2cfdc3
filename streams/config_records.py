"""Reads a mapping of the config into a frozen dataclass, and describes the dataclass as JSON Schema.

The dataclass says everything: a field's name is the key (unless `Named`), its annotation carries the kind,
its default is the key's default, and the docstring under it is the key's description.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import textwrap
from typing import Annotated, Any, Protocol, get_args, get_origin, get_type_hints, runtime_checkable

from monitor.windows import format_duration
from streams.config_entries import Entry, Problems
from streams.config_kinds import Json, Kind, Named, Needed, members, nearest
from streams.config_times import Duration


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of a record."""

    name: str
    """As it stands in the file."""
    field: dataclasses.Field[Any]
    """Where its value goes."""
    kind: Kind
    """What its value may be."""
    description: str
    """The docstring under the field."""
    example: str | None
    """What could be written where the file must have it; None: it has a default."""

    @property
    def required(self) -> bool:
        """Whether the file must have it."""
        return self.example is not None

    @property
    def nullable(self) -> bool:
        """Whether an empty value is its default."""
        return self.field.default is None


@runtime_checkable
class Checked(Protocol):
    """A record whose values can contradict each other."""

    def contradiction(self) -> tuple[str, str] | None:
        """Reason and remedy; None if all is well."""


@functools.cache
def keys_of(record: type) -> tuple[Key, ...]:
    """The keys of a dataclass whose annotations carry kinds."""
    hints = get_type_hints(record, include_extras=True)
    docs = _docstrings(record)
    keys = []
    for field in dataclasses.fields(record):
        hint = hints[field.name]
        assert get_origin(hint) is Annotated, f"{record.__name__}.{field.name} has no kind"
        extras = get_args(hint)[1:]
        name = next((extra.key for extra in extras if isinstance(extra, Named)), field.name)
        kind = next(extra for extra in extras if not isinstance(extra, Named | Needed))
        example = next((extra.example for extra in extras if isinstance(extra, Needed)), None)
        assert example is not None or field.default is not dataclasses.MISSING, f"{name} has no default"
        keys.append(Key(name, field, kind, docs[field.name], example))
    return tuple(keys)


def _docstrings(record: type) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(record)))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    docs = {}
    for field, text in itertools.pairwise(body):
        described = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and described:
            docs[field.target.id] = " ".join(str(text.value.value).split())  # type: ignore[attr-defined]  # by described
    return docs


@dataclasses.dataclass(frozen=True)
class Record:
    """A mapping with known keys, read into a dataclass."""

    record: type
    """The dataclass."""

    def read(self, entry: Entry, problems: Problems) -> object | None:
        """The dataclass; None if it is no mapping or a required key is missing."""
        found = members(entry, problems)
        if found is None:
            return None
        keys = {key.name: key for key in keys_of(self.record)}
        for name, member in found.items():
            if name not in keys:
                remedy = nearest(name, list(keys)) or f"known here: {', '.join(keys)}"
                problems.add(member, "unknown key", remedy)
        values = {}
        for key in keys.values():
            member_or_none = found.get(key.name)
            if member_or_none is None:
                if key.required:
                    problems.add(entry, "is missing", f"add {key.name}: {key.example}", key=key.name)
                continue
            if key.nullable and member_or_none.is_null:
                continue
            value = key.kind.read(member_or_none, problems)
            if value is not None:
                values[key.field.name] = value
        lacking = [key for key in keys.values() if key.field.default is dataclasses.MISSING]
        if any(key.field.name not in values for key in lacking):
            return None
        made: object = self.record(**values)
        if isinstance(made, Checked):
            wrong = made.contradiction()
            if wrong is not None:
                problems.add(entry, *wrong)
        return made

    def schema(self) -> Json:
        """An object that allows no other keys."""
        keys = keys_of(self.record)
        required = [key.name for key in keys if key.required]
        shape: Json = {
            # A section whose keys are all commented out is empty, and everything in it has its default.
            "type": "object" if required else ["object", "null"],
            "description": " ".join((inspect.getdoc(self.record) or "").split()),
            "additionalProperties": False,
            "properties": {key.name: _key_schema(key) for key in keys},
        }
        if required:
            shape["required"] = required
        return shape


def _key_schema(key: Key) -> Json:
    if key.nullable:
        return {"anyOf": [key.kind.schema(), {"type": "null"}], "description": key.description}
    shape = {**key.kind.schema(), "description": key.description}
    default = key.field.default
    if isinstance(key.kind, Duration) and isinstance(default, int):
        # The field holds milliseconds, the file a text.
        shape["default"] = format_duration(default)
    elif isinstance(default, bool | int | float | str):
        shape["default"] = default
    return shape
