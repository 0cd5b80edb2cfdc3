"""Hashes of keys, against those of the clients, and what a sample tells."""

import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from monitor.placement import Placement, Sample, crc32_partition, judge, murmur2, murmur2_partition


@given(st.binary(max_size=70))
def test_murmur2_is_that_of_the_client(key):
    assert murmur2(key) == aiokafka_murmur2(key)


@pytest.mark.parametrize(
    ("key", "signed"),  # from UtilsTest.testMurmur2 of Apache Kafka
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_that_of_apache_kafka(key, signed):
    assert murmur2(key) == signed % 2**32


@pytest.mark.parametrize(
    ("key", "crc"),  # expected by librdkafka's own test 0048-partitioner for the partitioner `consistent`
    [
        (b"", 0),
        (b"23456", 0xB1B451D7),
        (b"this is another string with more length to it perhaps", 0xB0150DF7),
    ],
)
def test_crc32_is_that_of_librdkafka(key, crc):
    assert crc32_partition(key, 17) == crc % 17


def placed_by(hash_, visitors, partitions):
    return [Sample(hash_(v.encode(), partitions), v.encode(), v) for v in visitors]


VISITORS = [f"v{n}" for n in range(400)]


def test_all_by_murmur2():
    assert judge(placed_by(murmur2_partition, VISITORS, 4), 4) == Placement(400, 0, 0, 400, 0, 0, 0)


def test_all_by_crc32():
    seen = judge(placed_by(crc32_partition, VISITORS, 4), 4)
    assert seen.by_murmur2 + seen.by_crc32 == 400
    assert seen.by_crc32 > 250  # three of four
    assert seen.elsewhere == seen.split_visitors == 0


def test_two_publishers_of_both_kinds_split_visitors():
    samples = placed_by(murmur2_partition, VISITORS, 4) + placed_by(crc32_partition, VISITORS, 4)
    seen = judge(samples, 4)
    assert seen.split_visitors == seen.by_crc32 > 250


def test_one_partition_cannot_be_wrong():
    assert judge(placed_by(crc32_partition, VISITORS, 1), 1).by_murmur2 == 400


def test_no_key_and_another_key_are_told_apart():
    samples = [Sample(0, None, "a"), Sample(0, b"", "a"), Sample(murmur2_partition(b"x", 4), b"x", "a")]
    seen = judge(samples, 4)
    assert (seen.sampled, seen.without_key, seen.other_key) == (3, 2, 1)


def test_neither_hash():
    wrong = next(p for p in range(8) if p not in (murmur2_partition(b"v", 8), crc32_partition(b"v", 8)))
    assert judge([Sample(wrong, b"v", "v")], 8).elsewhere == 1
