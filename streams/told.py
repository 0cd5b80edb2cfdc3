"""The message between the stages: a partition's window counts and the claim of who counted them."""

from __future__ import annotations

import msgspec

from monitor import counts
from monitor.counts import Counts
from streams.errors import StateError
from streams.ledger import Claim

#: Version of the message's frame.
VERSION = 1


class Told(msgspec.Struct, array_like=True, frozen=True):
    """One message: `counts` of a partition under the claim (`epoch`, `writer`)."""

    version: int
    epoch: int
    writer: str
    counts: Counts


def encode(claim: Claim, counted: Counts) -> bytes:
    """The message's value."""
    return msgspec.msgpack.encode(Told(VERSION, claim.epoch, claim.writer, counted))


def decode(value: bytes) -> tuple[Claim, Counts]:
    """Claim and counts of a message.

    Raises:
        StateError: Another version wrote it.
    """
    found = msgspec.msgpack.decode(value)
    versions = (found[0], found[3][0]) if isinstance(found, list) and len(found) == 4 else (None, None)
    if versions != (VERSION, counts.VERSION):
        msg = f"counts have version {versions}, this release reads version {(VERSION, counts.VERSION)}"
        raise StateError(msg, remedy="upgrade all workers of the group to one release")
    told = msgspec.convert(found, Told)
    return Claim(told.epoch, told.writer), told.counts


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
