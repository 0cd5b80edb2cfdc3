"""A YAML text as a tree of entries that know their key and line, with `${NAME}` filled in.

Values are read from the text as it was written, so `1.10` stays `1.10` and `no` stays a word; what a value
must be is decided by the kind that reads it (`streams.config_kinds`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from streams.errors import Problem

#: A config with more entries than this is no config; aliases of aliases can ask for billions.
MAX_ENTRIES = 50_000

#: A reference to the environment: `${NAME}`, or `${NAME:-default}` for where NAME is unset or empty.
REFERENCE = r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<or>:-(?P<default>[^}]*))?\}"

_TOKEN = re.compile(rf"(?P<escaped>\$\$\{{)|{REFERENCE}|(?P<broken>\$\{{[^}}]*\}}?)")
# Infinity and not-a-number are left out: no setting can use them, and as texts they are refused.
_NUMBER = re.compile(r"[-+]?(\d[\d_]*(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_FLAG = re.compile(r"true|True|TRUE|false|False|FALSE")
_NULL = re.compile(r"~|null|Null|NULL|")

#: What a scalar looks like when it is not in quotes (YAML 1.2: `yes`, `no` and `on` are words).
Form = Literal["text", "number", "flag", "null"]


@dataclass(frozen=True)
class Scalar:
    """One value as written."""

    text: str
    """The text, references filled in."""
    form: Form
    """What it looks like; in quotes always `text`."""
    source: str
    """The text with its references still in it: safe to show, for a reference may be a secret."""
    failed: bool = False
    """Whether a reference could not be filled in; a problem says so already."""

    @property
    def shown(self) -> str:
        """The value for a message to people: cut short, never what a reference stands for."""
        return self.source if len(self.source) <= 60 else self.source[:57] + "..."

    @property
    def referenced(self) -> bool:
        """Whether some of it came from the environment."""
        return self.text != self.source


@dataclass(frozen=True)
class Entry:
    """A value of the config, and where it stands."""

    key: str
    """Dotted path from the top, such as `goals.purchase.match`."""
    line: int
    """Line of the key (or of the item of a list), from 1."""
    value: Scalar | list[Entry] | dict[str, Entry]
    """A scalar, a list or a mapping."""

    @property
    def form(self) -> str:
        """What it is, in a word for people."""
        if isinstance(self.value, Scalar):
            return {"text": "a text", "number": "a number", "flag": "true or false", "null": "empty"}[
                self.value.form
            ]
        return "a list" if isinstance(self.value, list) else "a mapping"

    @property
    def is_null(self) -> bool:
        """Whether nothing is written after the key."""
        return isinstance(self.value, Scalar) and self.value.form == "null"


@dataclass
class Problems:
    """Collects what is wrong, so that all of it is told at once."""

    found: list[Problem] = field(default_factory=list)
    """In order of discovery."""

    def add(self, entry: Entry | None, reason: str, remedy: str = "", *, key: str = "") -> None:
        """Notes one problem of `entry`, or of a `key` below it that is not there."""
        line = entry.line if entry is not None and entry.key else None
        path = ".".join(part for part in (entry.key if entry is not None else "", key) if part)
        self.found.append(Problem(line, path or "(file)", reason, remedy))

    def in_order(self) -> tuple[Problem, ...]:
        """All problems by line; those without a line come first."""
        return tuple(sorted(dict.fromkeys(self.found), key=lambda problem: problem.line or 0))


def parse(text: str, environ: Mapping[str, str], problems: Problems) -> Entry | None:
    """The tree of a YAML text; None if it is not one mapping (then a problem says why).

    Args:
        text: The content of the file.
        environ: Where `${NAME}` is looked up; nothing else is taken from it.
        problems: Receives syntax errors, doubled keys and references that are not set.
    """
    try:
        root = YAML(typ="rt", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else None
        reason = " ".join(str(part) for part in (error.context, error.problem) if part)
        problems.found.append(
            Problem(line, "(syntax)", f"not valid YAML: {reason}", "check indents and quotes")
        )
        return None
    except (YAMLError, RecursionError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        problems.found.append(Problem(None, "(syntax)", f"not valid YAML: {first}"))
        return None
    if root is None:
        problems.add(None, "the file is empty", "it needs at least goals:")
        return None
    entry = _Builder(environ, problems).entry(root, "", root.start_mark.line + 1)
    if entry is None or not isinstance(entry.value, dict):
        problems.add(entry, "the file must be a mapping of settings", "start with goals:")
        return None
    return entry


class _Builder:
    """Turns ruamel's nodes into entries."""

    def __init__(self, environ: Mapping[str, str], problems: Problems) -> None:
        self._environ = environ
        self._problems = problems
        self._open: set[int] = set()
        self._count = 0

    def entry(self, node: Node, key: str, line: int) -> Entry | None:
        """The entry of a node; None if it contains itself or the tree grows without end."""
        self._count += 1
        place = Entry(key, line, Scalar("", "null", ""))
        if id(node) in self._open or self._count > MAX_ENTRIES:
            reason = "contains itself" if id(node) in self._open else f"more than {MAX_ENTRIES:,} entries"
            self._problems.add(place, f"{reason} through a YAML alias", "write the value out")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, ScalarNode):
                return Entry(key, line, self._scalar(node, place))
            if isinstance(node, SequenceNode):
                return Entry(key, line, self._items(node, key))
            assert isinstance(node, MappingNode)
            return Entry(key, line, self._members(node, key))
        finally:
            self._open.discard(id(node))

    def _items(self, node: SequenceNode, key: str) -> list[Entry]:
        items = []
        for index, child in enumerate(node.value):
            item = self.entry(child, f"{key}[{index}]", child.start_mark.line + 1)
            if item is not None:
                items.append(item)
        return items

    def _members(self, node: MappingNode, key: str) -> dict[str, Entry]:
        members: dict[str, Entry] = {}
        for name_node, child in node.value:
            line = name_node.start_mark.line + 1
            if not isinstance(name_node, ScalarNode):
                self._problems.add(Entry(key, line, []), "a key must be a word", "remove the brackets")
                continue
            path = f"{key}.{name_node.value}" if key else name_node.value
            if name_node.value in members:
                first = members[name_node.value].line
                self._problems.add(
                    Entry(path, line, []), f"is there twice, first on line {first}", "keep one"
                )
                continue
            member = self.entry(child, path, line)
            if member is not None:
                members[name_node.value] = member
            if self._count > MAX_ENTRIES:
                break
        return members

    def _scalar(self, node: ScalarNode, place: Entry) -> Scalar:
        source: str = node.value
        before = len(self._problems.found)
        text = self._filled(source, place)
        failed = len(self._problems.found) > before
        # A reference may stand for a number, also in quotes: `port: "${PORT}"`.
        plain = node.style is None or text != source
        return Scalar(text, _form(text) if plain else "text", source, failed)

    def _filled(self, source: str, place: Entry) -> str:
        def fill(token: re.Match[str]) -> str:
            if token["escaped"]:
                return "${"
            if token["broken"]:
                remedy = "write ${NAME}, ${NAME:-default}, or $${ for the two characters themselves"
                self._problems.add(place, f"{token['broken']} is no reference", remedy)
                return ""
            value = self._environ.get(token["name"])
            if token["or"]:
                return value or token["default"]
            if value is None:
                remedy = f"set {token['name']}, or give a default: ${{{token['name']}:-...}}"
                self._problems.add(place, f"{token['name']} is not set in the environment", remedy)
                return ""
            return value

        return _TOKEN.sub(fill, source)


def _form(text: str) -> Form:
    if _NULL.fullmatch(text):
        return "null"
    if _FLAG.fullmatch(text):
        return "flag"
    return "number" if _NUMBER.fullmatch(text) else "text"
