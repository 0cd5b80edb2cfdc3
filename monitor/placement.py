"""Which partition a key belongs to, by the two hashes that publishers use, and what a sample tells of them.

Visitors of all partitions add up only if each is in one partition. A key is placed by murmur2 in the Java
client and those that follow it, by CRC32 in librdkafka and what is built on it (confluent-kafka, kcat) unless
told otherwise. Two publishers that differ split every visitor who uses both.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from zlib import crc32

_M = 0x5BD1E995
_SEED = 0x9747B28C
_MASK = 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """MurmurHash2 of a key as Kafka's clients compute it, unsigned 32 bit.

    Source: org.apache.kafka.common.utils.Utils.murmur2.
    """
    whole = len(key) & ~3
    h = _SEED ^ len(key)
    for (k,) in struct.iter_unpack("<I", key[:whole]):
        k = k * _M & _MASK  # noqa: PLW2901
        h = (h * _M & _MASK) ^ ((k ^ k >> 24) * _M & _MASK)
    if rest := key[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


def murmur2_partition(key: bytes, partitions: int) -> int:
    """Where the Java client (and librdkafka's `murmur2_random`) puts a key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def crc32_partition(key: bytes, partitions: int) -> int:
    """Where librdkafka's default, `consistent_random`, puts a key."""
    return crc32(key) % partitions


@dataclass(frozen=True, slots=True)
class Sample:
    """A message as it lies in the topic: its partition, its key, and the visitor whose event it holds."""

    partition: int
    key: bytes | None
    visitor_id: str


@dataclass(frozen=True, slots=True)
class Placement:
    """What a sample says about how publishers key and place messages.

    Attributes:
        sampled: Messages looked at.
        without_key: Of these, how many have no key.
        other_key: How many have a key that is not the visitor's id.
        by_murmur2: How many keys are where murmur2 puts them (some of these where CRC32 does, too).
        by_crc32: How many keys are not, but are where CRC32 puts them.
        elsewhere: How many keys are at neither place.
        split_visitors: Visitors who were seen in more than one partition.
    """

    sampled: int
    without_key: int
    other_key: int
    by_murmur2: int
    by_crc32: int
    elsewhere: int
    split_visitors: int


def judge(samples: Iterable[Sample], partitions: int) -> Placement:
    """Counts over a sample of a topic with that many partitions."""
    without_key = other_key = by_murmur2 = by_crc32 = elsewhere = sampled = 0
    seen: defaultdict[str, set[int]] = defaultdict(set)
    for sample in samples:
        sampled += 1
        seen[sample.visitor_id].add(sample.partition)
        if not sample.key:
            without_key += 1
            continue
        other_key += sample.key != sample.visitor_id.encode()
        if sample.partition == murmur2_partition(sample.key, partitions):
            by_murmur2 += 1
        elif sample.partition == crc32_partition(sample.key, partitions):
            by_crc32 += 1
        else:
            elsewhere += 1
    split = sum(len(where) > 1 for where in seen.values())
    return Placement(sampled, without_key, other_key, by_murmur2, by_crc32, elsewhere, split)
