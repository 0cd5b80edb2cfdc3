import doctest
from types import SimpleNamespace

import pytest

from monitor import desire, fields
from monitor.desire import Effort, effort_of
from monitor.fields import default_field, path_problem
from monitor.goals import Goal, check_goal


def goal(kind, **match):
    pairs = tuple(
        (path.replace("__", "."), frozenset([value] if isinstance(value, str) else value))
        for path, value in match.items()
    )
    return Goal("g", kind, pairs)


@pytest.mark.parametrize(
    "kept",
    [
        goal("macro", event="purchase"),
        goal("macro", event=["purchase", "subscribe"]),
        goal("macro", event="generate_lead", properties__form="contact"),
        goal("macro", event="purchase", device="mobile"),
        goal("macro", event="submit_review"),
        goal("macro", event="get_in_touch"),
        goal("macro", event="press_release_request"),
        goal("macro", event="book_interview"),
        goal("micro", event="add_to_cart"),
        goal("micro", event="sign_up", properties__form="newsletter"),
        goal("micro", event="click", properties__link="pricing"),
        goal("micro", event="click", properties__link=["pricing", "plans"]),
        goal("micro", event="page_view", page="/thanks"),
        goal("micro", event="page_view", page=["/thanks", "/merci"]),
        goal("micro", event=["page_view", "sign_up"], page="/thanks"),
        goal("micro", event="scroll", page="/manifesto"),
        goal("micro", event="view_cart"),
        goal("micro", event="pricing_link_click"),
        goal("micro", event="phone_click"),
        goal("micro", page="/thanks"),
        goal("micro", properties__form="newsletter"),
    ],
    ids=lambda kept: f"{kept.kind} {dict(kept.match)}",
)
def test_a_desired_action_may_be_a_goal(kept):
    assert check_goal(kept) == []


@pytest.mark.parametrize(
    ("refused", "reason", "remedy"),
    [
        (goal("macro"), "the match is empty", "event: purchase"),
        (goal("micro"), "the match is empty", "event: purchase"),
        (goal("macro", event="page_view"), "page_view is one", "event: purchase"),
        (goal("macro", event="view_item"), "view_item is one", "event: purchase"),
        (goal("macro", event="click"), "click is one", "kind: micro"),
        (goal("macro", event="click", properties__link="pricing"), "click is one", "kind: micro"),
        (goal("macro", event="page_view", page="/thanks"), "page_view is one", "kind: micro"),
        (goal("macro", event=["purchase", "page_view"]), "page_view is one", "event: purchase"),
        (goal("macro", event=["purchase", "page_view", "click"]), "click and page_view is one", "event"),
        (goal("macro", event="view_cart"), "view_cart is one", "kind: micro"),
        (goal("macro", event="phone_click"), "phone_click is one", "kind: micro"),
        (goal("macro", event="screen_view"), "screen_view is one", "event: purchase"),
        (goal("macro", event="scroll"), "scroll is one", "event: purchase"),
        (goal("macro", event="PageView"), "PageView is one", "event: purchase"),
        (goal("macro", event="Product Viewed"), "Product Viewed is one", "event: purchase"),
        (goal("macro", event="select_item"), "select_item is one", "event: purchase"),
        (goal("macro", event="ad_impression"), "ad_impression is one", "event: purchase"),
        (goal("macro", event="session_start"), "happens by itself", "event: sign_up"),
        (goal("micro", event="session_start"), "happens by itself", "event: sign_up"),
        (goal("micro", event="user_engagement", page="/a"), "happens by itself", "event: sign_up"),
        (goal("micro", event="click"), "any click", "properties.link: pricing"),
        (goal("micro", event="page_view"), "any page_view", "page: /thanks"),
        (goal("micro", event="view"), "any view", "page: /thanks"),
        (goal("micro", event="scroll"), "any scroll", "page: /thanks"),
        (goal("micro", event=["sign_up", "page_view"]), "any page_view", "page: /thanks"),
        (goal("micro", event="click", device="mobile"), "any click", "device says which visitors"),
        (goal("micro", event="click", variant__checkout="b"), "any click", "says which visitors"),
        (goal("micro", event="click", properties__logged_in="true"), "any click", "yes or no"),
        (goal("micro", event="page_view", page="/"), "any page_view", "page: / is where visits begin"),
        (goal("macro", page="/thanks"), "does not say which event", "event: purchase"),
        (goal("macro", properties__form="x"), "does not say which event", "event: purchase"),
        (goal("micro", device="mobile"), "does not say which event", "event: sign_up"),
        (goal("macro", event=[]), "empty list", "at least one"),
        (goal("macro", event=""), "empty text", "write the value"),
        (goal("micro", event="click", properties__link=""), "empty text", "write the value"),
        (goal("micro", event="page_view", page="/th*"), "looks like a pattern", "one by one"),
        (goal("micro", event="click", link="pricing"), "no field link", "properties.link"),
        (goal("macro", evnt="purchase"), "no field evnt", "write event"),
        (goal("macro", event="purchase", visitor_id="1"), "differs from event to event", "properties"),
        (goal("macro", event="purchase", properties="x"), "is an object", "properties.form"),
    ],
    ids=lambda case: f"{case.kind} {dict(case.match)}" if isinstance(case, Goal) else "",
)
def test_what_any_visit_satisfies_is_refused_with_what_to_write_instead(refused, reason, remedy):
    reasons = check_goal(refused)
    assert any(reason in text and remedy in text for text in reasons), reasons


@pytest.mark.parametrize(
    ("event", "effort"),
    [
        ("page_view", Effort.BROWSING),
        ("pageview", Effort.BROWSING),
        ("PAGE-VIEW", Effort.BROWSING),
        ("page:view", Effort.BROWSING),
        ("view_item_list", Effort.BROWSING),
        ("view_search_results", Effort.BROWSING),
        ("link_click", Effort.BROWSING),
        ("autocapture", Effort.BROWSING),
        ("select_content", Effort.BROWSING),
        ("visit", Effort.BROWSING),
        ("view_1", Effort.BROWSING),
        ("view_pricing", Effort.NAMED),
        ("first_visit", Effort.AUTOMATIC),
        ("heartbeat", Effort.AUTOMATIC),
        ("add_to_cart", Effort.ACTION),
        ("begin_checkout", Effort.ACTION),
        ("login", Effort.ACTION),
        ("search", Effort.ACTION),
        ("preview_ordered", Effort.ACTION),
        ("---", Effort.ACTION),
    ],
)
def test_effort_is_read_from_the_words_of_a_name(event, effort):
    assert effort_of(event) is effort


@pytest.mark.parametrize(
    ("event", "converts"),
    [
        ({"event": "click", "properties": {"link": "pricing"}}, True),
        ({"event": "click", "properties": {"link": "about"}}, False),
        ({"event": "click", "properties": None}, False),
        ({"event": "click"}, False),
        ({"event": "purchase", "properties": {"link": "pricing"}}, False),
        (SimpleNamespace(event="click", properties={"link": "pricing"}), True),
        (SimpleNamespace(event="click", properties=None), False),
    ],
)
def test_an_event_converts_if_every_path_fits(event, converts):
    assert goal("micro", event="click", properties__link="pricing").matches(event) is converts


def test_numbers_and_flags_are_compared_as_json_writes_them():
    wanted = goal("macro", event="purchase", properties__plan="3", properties__paid="true")
    assert wanted.matches({"event": "purchase", "properties": {"plan": 3.0, "paid": True}})


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("device", "device"),
        ("page", "page"),
        ("brand", "properties.brand"),
        ("properties.brand", "properties.brand"),
        ("variant.checkout", "variant.checkout"),
        ("a.b", "properties.a.b"),
    ],
)
def test_a_dimension_without_a_field_reads_the_field_of_its_name(name, path):
    assert default_field(name) == path
    assert path_problem(path) is None


def test_examples_in_docstrings():
    assert doctest.testmod(desire).failed == 0
    assert doctest.testmod(fields).failed == 0
