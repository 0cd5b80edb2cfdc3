"""The message between the stages: a partition's window counts and the claim of who counted them."""

from __future__ import annotations

import msgspec

from monitor import counts, minutes
from monitor.counts import Counts
from streams.errors import StateError
from streams.ledger import Claim

#: Version of the message's frame.
VERSION = 4


class Told(msgspec.Struct, array_like=True, frozen=True):
    """One message of a partition.

    Attributes:
        version: `VERSION`.
        epoch: Of the writer's claim.
        writer: Of the writer's claim.
        counts: Window counts.
        offset: Up to where in the consumed topic they go.
        passed_ms: Event time (epoch ms) that the partition has passed; None before the first event.
        minutes: Minutes that changed since they were told.
        producers: Who sent events lately (`name/version`) → event time of its first event.
        holder: `Holder.since` of whom the minutes are told to: he has been told all earlier ones. To another one, who took
            over in between, they would be a stream with a hole at its beginning.
    """

    version: int
    epoch: int
    writer: str
    counts: Counts
    offset: int
    passed_ms: int | None
    minutes: list[minutes.Told]
    producers: dict[str, int]
    holder: float | None

    @property
    def claim(self) -> Claim:
        """Whose message it is."""
        return Claim(self.epoch, self.writer)


def encode(
    claim: Claim,
    counted: Counts,
    offset: int,
    passed_ms: int | None = None,
    told: list[minutes.Told] | None = None,
    producers: dict[str, int] | None = None,
    holder: float | None = None,
) -> bytes:
    """The message's value."""
    message = Told(
        VERSION, claim.epoch, claim.writer, counted, offset, passed_ms, told or [], producers or {}, holder
    )
    return msgspec.msgpack.encode(message)


def decode(value: bytes) -> Told:
    """A message.

    Raises:
        StateError: Another version wrote it.
    """
    found = msgspec.msgpack.decode(value)
    framed = isinstance(found, list) and len(found) > 3
    versions = (found[0], found[3][0]) if framed else (None, None)
    if versions != (VERSION, counts.VERSION):
        msg = f"counts have version {versions}, this release reads version {(VERSION, counts.VERSION)}"
        raise StateError(msg, remedy="upgrade all workers of the group to one release")
    return msgspec.convert(found, Told)


class Claims:
    """Which claim each partition's messages must carry: the highest epoch seen, its first writer."""

    def __init__(self) -> None:
        self._valid: dict[int, Claim] = {}

    def accept(self, partition: int, claim: Claim) -> bool:
        """Whether a message under this claim counts."""
        valid = self._valid.get(partition)
        if valid is None or claim.epoch > valid.epoch:
            self._valid[partition] = valid = claim
        return claim == valid
