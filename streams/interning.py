"""Texts that come again and again are decoded into the one string that there is of each already.

To look up a string that was just made costs its hash and a comparison; one that is there already has its hash and is known
at sight, which takes half the time. A type whose texts are all named (`Literal`) makes msgspec do that: such a type is
made of the texts seen so far.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, get_type_hints

import msgspec

#: A field with more texts than this is let alone: they do not come again and again.
MOST_TEXTS = 2_000
#: Events that are looked at before their texts are taken for all there are.
LEARN = 25_000


class Interning:
    """Decodes structs of one type; texts of some of its fields are interned.

    At first it only looks at what is decoded. Later a struct with a new text is refused like a faulty one. So the caller,
    who has to look again at what is refused in any case, does so with a plain decoder, and tells what it was. That a
    field has at most `MOST_TEXTS` is also what bounds how often this happens.

    Attributes:
        decode: Decodes one; raises `msgspec.ValidationError` for a faulty one, and for one with a new text.
        learning: How many more it wants to be told of in any case.
    """

    def __init__(self, of: type[msgspec.Struct], fields: Iterable[str]) -> None:
        """`fields`, of `of`, are those whose texts come again and again; each is `str` or `str | None`."""
        self._of = of
        self._texts: dict[str, set[str]] = {field: set() for field in fields}
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(of, strict=True).decode
        self.learning = LEARN

    def met(self, structs: Sequence[msgspec.Struct]) -> None:
        """Learn from what was decoded while it was learning, or what `decode` refused."""
        new = False
        for field, texts in list(self._texts.items()):
            before = len(texts)
            texts.update({getattr(struct, field) for struct in structs} - {None})
            new |= len(texts) > before
            if len(texts) > MOST_TEXTS:
                del self._texts[field]
        was_learning = self.learning > 0
        self.learning -= len(structs)
        if self.learning <= 0 and (was_learning or new):
            self._make()

    def _make(self) -> None:
        hints = get_type_hints(self._of, include_extras=True)
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        for field in msgspec.structs.fields(self._of):
            kind = hints[field.name]
            if texts := self._texts.get(field.name):
                named = Literal[tuple(map(sys.intern, texts))]  # type: ignore[valid-type]
                kind = named if field.required else named | None
            fields.append((field.name, kind) if field.required else (field.name, kind, field.default))
        interned = msgspec.defstruct(self._of.__name__, fields, bases=(self._of,), gc=False)
        self.decode = msgspec.json.Decoder(interned, strict=True).decode
