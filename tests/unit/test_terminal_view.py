import io
from typing import Any

import pytest
from rich.console import Console

from monitor.history import History
from monitor.live.view import live_view
from monitor.snapshot import Snapshot, empty_snapshot
from streams.terminal_view import draw, percent, printable, sparkline
from tests.shop_state import RULES, Shop

NOW = 1_700_057_700.0


def view(snapshot: Snapshot, window: str = "1m") -> dict[str, Any]:
    history = History(RULES)
    history.record(snapshot)
    return live_view(snapshot, RULES, history, window)


def drawn(seen: dict[str, Any], width: int = 120, **how: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(draw(seen, width=width, **how))
    return out.getvalue()


def test_says_what_broke_first_then_the_goals_then_the_segments() -> None:
    text = drawn(view(Shop(NOW, broken_at=NOW - 900).at(NOW)))
    places = [
        text.index(words)
        for words in ("▼ Purchase rate fell", "Goal  ", "Purchase by segment", "device mobile")
    ]
    assert places == sorted(places)
    assert "97 % of the loss" in text


def test_all_normal() -> None:
    text = drawn(view(Shop(NOW).at(NOW)))
    assert "✓ All is normal" in text
    assert "✓ as expected" in text
    assert "? learning what is normal" in text
    assert "EUR" in text


def test_before_the_first_event_there_are_dashes() -> None:
    text = drawn(view(empty_snapshot(RULES)))
    assert "Waiting for the first event" in text
    assert "–" in text


def test_fits_a_small_terminal() -> None:
    text = drawn(view(Shop(NOW, broken_at=NOW - 900).at(NOW)), width=80, height=24)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "? learning what is normal" in text
    assert "more" in text


def test_the_chosen_goal_is_the_one_whose_segments_are_shown() -> None:
    assert "Newsletter by segment" in drawn(view(Shop(NOW).at(NOW)), goal="newsletter")


def test_a_note_about_the_connection_stands_in_the_first_line() -> None:
    assert "trying again" in drawn(view(Shop(NOW).at(NOW)), note="trying again").splitlines()[0]


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(None, "–"), (0.0, "0.00 %"), (0.0358, "3.58 %"), (0.138, "13.8 %"), (0.0005, "0.050 %")],
)
def test_percent(ratio: float | None, text: str) -> None:
    assert percent(ratio) == text


@pytest.mark.parametrize(
    ("values", "line"),
    [([], ""), ([0.0, 0.0], "▁▁"), ([0.0, 0.5, 1.0], "▁▅█"), ([None, 1.0], " █"), ([1.0] * 40, "█" * 20)],
)
def test_sparkline(values: list[float | None], line: str) -> None:
    assert sparkline(values) == line


def test_text_from_events_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2Jb\n\x07") == "a�[2Jb��"
    seen = view(Shop(NOW).at(NOW))
    seen["goals"][0]["segments"][0]["value"] = "\x1b]0;owned\x07[red]x[/red]"
    text = drawn(seen)
    assert "\x1b" not in text
    assert "[red]x[/red]" in text
