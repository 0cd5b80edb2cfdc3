"""Text on the live page is readable: contrast of at least 4.5 to 1 (WCAG 2.2, AA), light and dark."""

import re
from importlib.resources import files

import pytest

CSS = files("monitor.live").joinpath("static", "live.css").read_text()
LIGHT, _, DARK = CSS.partition("@media (prefers-color-scheme: dark)")
LEVELS = ("bad", "warn", "ok", "unknown")
PAIRS = [
    *(
        (text, ground)
        for text in ("text", "soft", "accent", *LEVELS)
        for ground in ("card", "ground", "track")
    ),
    *((text, f"{level}-soft") for level in LEVELS for text in ("text", "soft", level)),
    *(("card", level) for level in LEVELS),
]


def colours(css: str) -> dict[str, str]:
    block = css[: css.index("}")]
    return dict(re.findall(r"--([a-z-]+): #([0-9a-f]{6});", block))


def luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("css", [LIGHT, DARK], ids=["light", "dark"])
def test_text_is_readable_on_every_ground(css: str) -> None:
    of = colours(css)
    weak = {}
    for text, ground in PAIRS:
        dark, light = sorted((luminance(of[text]), luminance(of[ground])))
        ratio = (light + 0.05) / (dark + 0.05)
        if ratio < 4.5:
            weak[text, ground] = round(ratio, 2)
    assert weak == {}


def test_page_and_styles_hold_no_inline_code_and_no_address_of_another_host() -> None:
    for file in files("monitor.live").joinpath("static").iterdir():
        content = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "//" not in re.sub(r"^\s*//.*$|\s// .*$", "", content, flags=re.MULTILINE), file.name
        if file.name.endswith(".html"):
            assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)", content)
