"""Lines of libraries that repeat themselves."""

from __future__ import annotations

import logging

from streams.logs import LessOfTheSame


def line(name: str, at: float, text: str, *args: object) -> logging.LogRecord:
    record = logging.LogRecord(name, logging.ERROR, "", 0, text, args, None)
    record.created = at
    return record


def passed(*lines: logging.LogRecord) -> list[str]:
    less = LessOfTheSame()
    return [one.getMessage() for one in lines if less.filter(one)]


def test_a_library_says_the_same_once_in_ten_seconds_and_how_often() -> None:
    text = "Failed fetch messages from %s: %s"
    lines = [line("aiokafka.consumer.fetcher", 5.0 + n / 10, text, 1, f"reason {n}") for n in range(105)]
    assert passed(*lines) == [
        "Failed fetch messages from 1: reason 0",
        "Failed fetch messages from 1: reason 100 (99 more like this)",
    ]


def test_other_lines_and_our_own_are_all_written() -> None:
    lines = [
        line("aiokafka.conn", 1.0, "a"),
        line("aiokafka.conn", 1.0, "b"),
        line("aiokafka.client", 1.0, "a"),
    ]
    assert passed(*lines) == ["a", "b", "a"]
    assert passed(*[line("streams.pipeline", 1.0, "the same") for _ in range(3)]) == ["the same"] * 3
