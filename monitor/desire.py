"""How much a visitor must want to do what an event's name says: by itself, a look or click, an action.

The names are GA4's, plus those other trackers use; `product_viewed`, `Product Viewed` and `productViewed`
are the same name here.
"""

from __future__ import annotations

import re
from enum import Enum


class Effort(Enum):
    """What an event tells about the visitor's will."""

    AUTOMATIC = 1
    """Sent by itself: a session starts, a page is scrolled, a timer ticks."""
    BROWSING = 2
    """Any view or any click: what every visit is made of."""
    NAMED = 3
    """A view or click whose name says of what: `view_cart`, `pricing_link_click`."""
    ACTION = 4
    """Anything else: something was done."""


#: Words for a look at something.
_VIEW_WORDS = frozenset(
    """view views viewed pageview pageviews pageviewed screenview screenviews
    impression impressions seen""".split()
)

#: Words for a click on something.
_CLICK_WORDS = frozenset(
    "click clicks clicked tap taps tapped touched pressed hover hovered mouseover autocapture".split()
)

#: Words that name no particular thing: `product_view` is as common as `view`.
_ANY_THING = frozenset(
    """a ad ads all an any app article banner button card catalog category content cta detail details
    element event generic home homepage image internal item items landing link links list listing load
    nav navigation of on outbound page pages pdp plp product products promotion promotions result
    results screen search site tab the thing ui user visit visitor web website""".split()
)

#: Whole names that are browsing without one of the words above.
_BROWSING_NAMES = frozenset(
    """page; screen; visit; visits; pv; hit; navigation; navigate; page load; load page; page visit;
    page enter; route change; select item; select content; select promotion""".replace("\n    ", " ").split(
        "; "
    )
)

#: Whole names of what happens in a visit without anybody's decision.
_AUTOMATIC_NAMES = frozenset(
    """session start; session started; start session; session end; first visit; app open;
    user engagement; engagement; heartbeat; ping; timer; idle; page leave; pageleave; page unload; page close;
    page exit; exit; app background; app foreground; app update; os update; experiment impression;
    web vitals; mousemove; mouse move""".replace("\n    ", " ").split("; ")
)

#: One of these words makes a name a scroll, which a visit is made of just as of clicks.
_SCROLL_WORDS = frozenset({"scroll", "scrolled", "scrolls", "swipe", "swiped"})

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def words_of(name: str) -> list[str]:
    """Lower-case words of an event name, whatever separates them.

    >>> words_of("product_viewed"), words_of("Product Viewed"), words_of("productViewed")
    (['product', 'viewed'], ['product', 'viewed'], ['product', 'viewed'])
    """
    return [word.lower() for word in _WORD.findall(name)]


def effort_of(event: str) -> Effort:
    """What an event's name says about the visitor's will.

    >>> [effort_of(name).name for name in ("session_start", "page_view", "view_cart", "purchase", "review")]
    ['AUTOMATIC', 'BROWSING', 'NAMED', 'ACTION', 'ACTION']
    """
    words = words_of(event)
    name = " ".join(words)
    if name in _AUTOMATIC_NAMES:
        return Effort.AUTOMATIC
    if name in _BROWSING_NAMES:
        return Effort.BROWSING
    browsing = _VIEW_WORDS | _CLICK_WORDS | _SCROLL_WORDS
    if not browsing.intersection(words):
        return Effort.ACTION
    rest = [word for word in words if word not in browsing and not word.isdigit()]
    return Effort.NAMED if any(word not in _ANY_THING for word in rest) else Effort.BROWSING
