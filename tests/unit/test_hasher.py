"""Hashes of ids: the same whoever asks and whenever, and none that means "no id"."""

from __future__ import annotations

import hashlib

import numpy as np
import xxhash
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from monitor.batch import NO_ID, Hasher


def keyed(visitor_id: str, salt: bytes) -> int:
    key = hashlib.blake2b(salt, digest_size=40).digest()
    quick = xxhash.xxh3_64_digest(visitor_id.encode(), int.from_bytes(key[:8], "little"))[::-1]
    block = Cipher(algorithms.AES256(key[8:]), modes.ECB()).encryptor().update(quick + bytes(8))
    return int.from_bytes(block[:8], "little")


def visitors(hasher: Hasher, ids: list[str]) -> list[int]:
    found: list[int] = hasher.visitors(hasher.ids(ids)).tolist()
    return found


def test_a_visitor_has_his_keyed_hash_whoever_stands_beside_him() -> None:
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
