"""What every worker knows of the others."""

from __future__ import annotations

import msgspec
import pytest

from streams.board import OWNER_KEY, WATERMARK_HEADER, Board, Holder


def holder(url: str, since: float, judged: int | None) -> bytes:
    return msgspec.json.encode(Holder(url, since, judged))


def test_event_time_is_the_latest_that_anybody_told() -> None:
    board = Board("counts")
    assert board.watermark_ms is None
    for text, wanted in [(b"5", 5), (b"9", 9), (b"7", 9)]:
        board.see(b"0", b"", [(WATERMARK_HEADER, text)])
        assert board.watermark_ms == wanted
    board.see(b"0", None, [("other", b"99"), (WATERMARK_HEADER, b"")])
    board.advance(None)
    board.advance(3)
    assert board.watermark_ms == 9


def test_who_holds_the_totals_and_how_far_he_has_judged() -> None:
    board = Board("counts")
    assert (board.totals_url, board.judged_minute, board.holders) == (None, None, 0)
    board.see(OWNER_KEY, holder("a", 1.0, None), [])
    assert (board.totals_url, board.judged_minute, board.holders) == ("a", None, 1)
    board.see(OWNER_KEY, holder("a", 1.0, 7), [])
    assert (board.judged_minute, board.holders) == (7, 1)
    board.see(OWNER_KEY, None, [])
    assert (board.totals_url, board.judged_minute) == ("a", 7)


@pytest.mark.parametrize("then", [("b", 1.0), ("a", 2.0)])
def test_another_holder_or_the_same_one_anew_must_be_told_again(then: tuple[str, float]) -> None:
    board = Board("counts")
    board.see(OWNER_KEY, holder("a", 1.0, 7), [])
    board.see(OWNER_KEY, holder(*then, 5), [])
    assert (board.holders, board.totals_url, board.judged_minute) == (2, then[0], 5)


def test_an_announcement_of_an_earlier_holder_is_passed_over() -> None:
    """A zombie announces itself once more after its heir has: what it has judged is not what the heir has."""
    board = Board("counts")
    board.see(OWNER_KEY, holder("a", 1.0, 7), [])
    board.see(OWNER_KEY, holder("b", 2.0, 5), [])
    board.see(OWNER_KEY, holder("a", 1.0, 8), [])
    assert (board.totals_url, board.judged_minute) == ("b", 5)
