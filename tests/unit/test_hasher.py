"""Hashes of ids: the same whoever asks and whenever, and none that means "no id"."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from monitor import batch
from monitor.batch import NO_ID, Hasher


def keyed(visitor_id: str, salt: bytes) -> int:
    key = hashlib.blake2b(salt, digest_size=32).digest()
    return int.from_bytes(hashlib.blake2b(visitor_id.encode(), digest_size=8, key=key).digest(), "little")


def visitors(hasher: Hasher, ids: list[str]) -> list[int]:
    found: list[int] = hasher.visitors(ids, hasher.ids(ids)).tolist()
    return found


def test_a_visitor_has_his_keyed_hash_also_when_the_memory_starts_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch, "_KNOWN_VISITORS", 50)
    hasher, rng = Hasher(b"test_hasher"), np.random.default_rng(1)
    for _ in range(40):
        ids = [f"visitor {n}" for n in rng.integers(0, 200, 60).tolist()]
        assert visitors(hasher, ids) == [keyed(i, b"test_hasher") for i in ids]
    assert visitors(hasher, []) == []


def test_another_salt_gives_other_hashes() -> None:
    assert visitors(Hasher(b"a"), ["v"]) != visitors(Hasher(b"b"), ["v"])


def test_ids_that_are_missing_are_none_whatever_stands_beside_them() -> None:
    hasher = Hasher(b"")
    both = hasher.ids(["x", "y"])
    assert (both != NO_ID).all()
    assert hasher.ids([None, "x", None, "y"]).tolist() == [0, both[0], 0, both[1]]
