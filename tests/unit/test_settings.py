import dataclasses
from pathlib import Path

import pytest

from monitor.rules import Dimension, Rules
from streams.config_records import keys_of
from streams.errors import ConfigError
from streams.settings import ConfigFile, Detection, Http, Kafka, Limits, Mute, load_settings, parse_settings

EXAMPLES = Path(__file__).parents[2] / "examples"
GOALS = "goals: {purchase: {match: {event: purchase}}}\n"
ENVIRON = {"KAFKA_PASSWORD": "secret", "POD_NAME": "monitor-0", "MONITOR_SALT": "salt"}


def problems(text, environ=None):
    with pytest.raises(ConfigError) as caught:
        parse_settings(text, environ or {}, "monitor.yaml")
    assert caught.value.exit_code == 2
    return caught.value.problems


def test_every_key_has_a_default_but_goals():
    settings = parse_settings(GOALS, {})
    assert settings.kafka == Kafka()
    assert settings.http == Http()
    assert settings.detection == Detection()
    assert settings.limits == Limits()
    assert settings.checkpoint_interval_s == 5.0
    assert settings.data_dir == Path("data")
    assert settings.rules == Rules(ConfigFile().windows, settings.rules.goals)
    assert [window.name for window in settings.rules.windows] == ["1m", "5m", "1h", "24h"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_can_be_used(path):
    assert load_settings(path, ENVIRON).rules.goals


def test_the_reference_example_writes_every_key_with_its_default():
    reference = load_settings(EXAMPLES / "reference.yaml", {})
    assert reference == parse_settings(GOALS, {})
    text = (EXAMPLES / "reference.yaml").read_text("utf-8")
    for record in (ConfigFile, Kafka, Http, Detection, Limits):
        for field in dataclasses.fields(record):
            assert f"{field.name}:" in text


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("kafka: {bootstrap_servers: embedded}", lambda s: s.kafka.embedded),
        ("kafka: {bootstrap_servers: 'a:9092, [::1]:9093'}", lambda s: not s.kafka.embedded),
        ("kafka:", lambda s: s.kafka == Kafka()),
        ("http: {port: 0}", lambda s: s.http.port == 0),
        ("http: {port: 8_001}", lambda s: s.http.port == 8001),
        ("http: {host: '::1'}", lambda s: s.http.url == "http://[::1]:8000"),
        ("http: {public_url: 'https://m.example/x/'}", lambda s: s.http.url == "https://m.example/x"),
        ("windows: [24h, 30s]", lambda s: [w.name for w in s.rules.windows] == ["30s", "24h"]),
        ("checkpoint_interval: 250ms", lambda s: s.checkpoint_interval_s == 0.25),
        ("clock: event", lambda s: s.rules.clock == "event"),
        ("dimensions: [device, brand]", lambda s: s.rules.dimensions
         == (Dimension("device", "device"), Dimension("brand", "properties.brand"))),
        ("dimensions: {device: , brand: {max_values: 7}}", lambda s: s.rules.dimensions
         == (Dimension("device", "device"), Dimension("brand", "properties.brand", 7))),
        ("dimensions: {maker: {field: properties.brand}}", lambda s: s.rules.dimensions
         == (Dimension("maker", "properties.brand"),)),
        ("dimensions:", lambda s: s.rules.dimensions == ()),
        ("dimensions: []", lambda s: s.rules.dimensions == ()),
        ("detection: {false_alarms_per_month: 0.5}", lambda s: s.detection.false_alarms_per_month == 0.5),
        ("detection: {mute: [{goal: purchase}]}", lambda s: s.detection.mute == (Mute("purchase"),)),
        ("detection: {mute: [{dimension: all}]}", lambda s: s.detection.mute == (Mute(None, "all"),)),
        ("detection: {quiet: [{from: 2026-01-01T00:00:00Z, to: '2026-01-01T02:00:00+01:00'}]}",
         lambda s: s.detection.quiet[0].to_ms - s.detection.quiet[0].from_ms == 3_600_000),
        ("detection: {calendar: [{date: 2026-12-25, learn: false}]}",
         lambda s: not s.detection.calendar[0].learn),
    ],
)  # fmt: skip
def test_values_are_read(line, read):
    assert read(parse_settings(f"{line}\n{GOALS}", {}))


def test_a_goal_is_read_whole():
    (goal,) = parse_settings(
        """
goals:
  plan:
    kind: macro
    match: {event: [subscribe, upgrade], properties.seats: [1, 2.0], properties.v: 1.10, properties.paid: yes,
            properties.id: 12345678901234567890, properties.new: True}
    revenue: properties.fee
    default_currency: EUR
    expected_rate: 0.04
""",
        {},
    ).rules.goals
    assert goal.kind == "macro"
    assert dict(goal.match) == {
        "event": {"subscribe", "upgrade"},
        "properties.seats": {"1", "2"},
        "properties.v": {"1.1"},
        "properties.paid": {"yes"},
        "properties.id": {"12345678901234567890"},
        "properties.new": {"true"},
    }
    assert (goal.revenue, goal.default_currency, goal.expected_rate) == ("properties.fee", "EUR", 0.04)


def test_words_of_older_yaml_stay_words():
    (goal,) = parse_settings("goals: {a: {match: {event: purchase, country: NO}}}", {}).rules.goals
    assert dict(goal.match)["country"] == {"NO"}


BAD = [
    # text, line, key, part of the reason, part of the remedy
    ("windos: [1m]", 1, "windos", "unknown key", "did you mean windows?"),
    ("\nkafka:\n  topik: a", 3, "kafka.topik", "unknown key", "did you mean topic?"),
    ("http: {prot: 1, xyz: 2}", 1, "http.xyz", "unknown key", "host, port, public_url"),
    ("http: 5", 1, "http", "must be a mapping", "key: value"),
    ("http: {port: 70000}", 1, "http.port", "out of bounds", "65,535"),
    ("http: {port: '8000'}", 1, "http.port", "no whole number", "from 0"),
    ("http: {port: 80.5}", 1, "http.port", "no whole number", "from 0"),
    ("http: {port: }", 1, "http.port", "is empty", "whole number"),
    ("http: {port: [1]}", 1, "http.port", "is a list", "whole number"),
    ("http: {public_url: monitor-1}", 1, "http.public_url", "not an http(s) URL", "http://monitor-1:8000"),
    ("kafka: {topic: 12}", 1, "kafka.topic", "must be a text", 'in quotes: "12"'),
    ("kafka: {topic: a/b}", 1, "kafka.topic", "not a topic name", "clickstream"),
    ("kafka: {topic: ..}", 1, "kafka.topic", "not a topic name", "clickstream"),
    ("kafka: {topic: conversion-alerts}", 1, "kafka.topic", "writes to conversion-alerts", "publishers"),
    ("kafka: {create_topics: yes}", 1, "kafka.create_topics", "neither true nor false", "true or false"),
    ("kafka: {bootstrap_servers: localhost}", 1, "kafka.bootstrap_servers", "not host:port", "127.0.0.1"),
    ("kafka: {bootstrap_servers: embeded}", 1, "kafka.bootstrap_servers", "not host:port", "embedded"),
    ("kafka: {partitions: 0}", 1, "kafka.partitions", "out of bounds", "1 to"),
    ("kafka: {bootstrap_servers: embedded, replication_factor: 3}", 1, "kafka.replication_factor",
     "cannot keep 3 copies", "write 1"),
    ("kafka: {bootstrap_servers: embedded, security: {protocol: SSL}}", 1, "kafka.security.protocol",
     "does not speak SSL", "PLAINTEXT"),
    ("kafka: {security: {protocol: SASL_SSL}}", 1, "kafka.security.password", "needs a password", "set"),
    ("kafka: {security: {protocol: SASL}}", 1, "kafka.security.protocol", "is not one of", "SSL"),
    ("kafka: {security: {username: a}}", 1, "kafka.security.username", "no use with", "SASL_SSL"),
    ("kafka: {security: {ca_file: a}}", 1, "kafka.security.ca_file", "no use with", "SSL"),
    ("kafka: {security: {protocol: SSL, cert_file: a}}", 1, "kafka.security.cert_file", "needs a", ""),
    ("clock: evnt", 1, "clock", "not one of wall, event", "did you mean event?"),
    ("windows: 5m", 1, "windows", "must be a list", "[a, b]"),
    ("windows: []", 1, "windows", "has 0 items", "from 1"),
    ("windows:\n- 1m\n- 1h1s", 3, "windows[1]", "3,601 panes", "1h or 1h5s"),
    ("windows:\n- 1m\n- 60s", 3, "windows[1]", "60s is 1m again", "keep one"),
    ("windows:\n- 1m\n- 5m\n- 1m", 4, "windows[2]", "1m is there twice", "keep one"),
    ("windows: [0s]", 1, "windows[0]", "at least 1s", ""),
    ("idle_after: 10", 1, "idle_after", "10 has no unit", "duration"),
    ("idle_after: 0s", 1, "idle_after", "out of bounds", "100ms"),
    ("checkpoint_interval: 1h", 1, "checkpoint_interval", "out of bounds", "5m"),
    ("dedupe_window: 2d", 1, "dedupe_window", "out of bounds", "1d"),
    ("dedupe_window: 10s", 1, "dedupe_window", "shorter than allowed_lateness", "30s or more"),
    ("allowed_lateness: 25m", 1, "allowed_lateness", "not less than session_gap", "raise session_gap"),
    ("session_gap: 5m", 1, "session_gap", "not less than session_gap", "raise session_gap"),
    ("dimensions: {all: }", 1, "dimensions.all", "meaning of its own", "another name"),
    ("dimensions: [device, other]", 1, "dimensions[1]", "meaning of its own", "another name"),
    ("dimensions: [device, device]", 1, "dimensions[1]", "is there twice", "keep one"),
    ("dimensions: {device: , gadget: {field: device}}", 1, "dimensions.gadget", "as device does", "keep one"),
    ("dimensions: {visitor_id: }", 1, "dimensions.visitor_id", "differs from event to event", "properties"),
    ("dimensions: {a: {field: brand}}", 1, "dimensions.a.field", "no field brand", "properties.brand"),
    ("dimensions: {device: {max_values: 0}}", 1, "dimensions.device.max_values", "out of bounds", "1 to"),
    ("dimensions: {'über': }", 1, "dimensions.über", "label value", "A-Z"),
    ("dimensions: device", 1, "dimensions", "must be a mapping", ""),
    ("detection: {min_conversions_lost: -1}", 1, "detection.min_conversions_lost", "out of bounds", "from 0"),
    ("detection: {false_alarms_per_month: 0}", 1, "detection.false_alarms_per_month", "out of", "above 0"),
    ("detection: {false_alarms_per_month: .nan}", 1, "detection.false_alarms_per_month", "no number", ""),
    ("detection: {quiet: [{from: 2026-01-01T00:00:00Z}]}", 1, "detection.quiet[0].to", "is missing", "to:"),
    ("detection: {quiet: [{from: 2026-01-02T00:00:00Z, to: 2026-01-01T00:00:00Z}]}", 1, "detection.quiet[0]",
     "ends before", "exchange"),
    ("detection: {quiet: [{from: 2026-01-02T00:00:00, to: 2026-01-03T00:00:00Z}]}", 1,
     "detection.quiet[0].from", "has no zone", "2026-"),
    ("detection: {calendar: [{date: 2026-02-30}]}", 1, "detection.calendar[0].date", "is no date", ""),
    ("detection: {calendar: [{date: 2026-02-03}]}", 1, "detection.calendar[0]", "says nothing", "factor"),
    ("detection: {calendar: [{date: 2026-02-03, factor: 2}, {date: 2026-02-03, learn: false}]}", 1,
     "detection.calendar[1]", "there twice", "one entry"),
    ("detection: {mute: [{goal: purchas}]}", 1, "detection.mute[0].goal", "no goal purchas", "purchase"),
    ("detection: {mute: [{dimension: brand}]}", 1, "detection.mute[0].dimension", "no dimension", "all"),
    ("detection: {mute: [{value: x}]}", 1, "detection.mute[0]", "without its dimension", "dimension"),
    ("detection: {mute: [{}]}", 1, "detection.mute[0]", "names no series", "goal"),
    ("privacy: {salt: '${SALT}'}", 1, "privacy.salt", "SALT is not set", "set SALT"),
    ("privacy: {salt: '${'}", 1, "privacy.salt", "no reference", "$${"),
    ("limits: {visitors: 1}", 1, "limits.visitors", "out of bounds", "1,000"),
    ("clock: wall\nclock: event", 2, "clock", "twice, first on line 1", "keep one"),
    ("? [a]\n: b", 1, "", "must be a word", ""),
    ("http: &a {port: *a}", 1, "http.port", "contains itself", "write the value out"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "key", "reason", "remedy"), BAD, ids=[case[0] for case in BAD])
def test_what_is_wrong_is_told_with_line_key_reason_and_remedy(text, line, key, reason, remedy):
    found = problems(f"{text}\n{GOALS}")
    fits = [p for p in found if reason in p.reason and remedy in p.remedy]
    assert fits, found
    if key:
        assert (fits[0].line, fits[0].key) == (line, key)


BAD_GOALS = [
    ("{}", "goals", "has 0 goals", "purchase"),
    ("{a: }", "goals.a.match", "is missing", "add match: {event: purchase}"),
    ("{a: {match: {}}}", "goals.a.match", "match is empty", "event: purchase"),
    ("{a: {match: purchase}}", "goals.a.match", "must be a mapping", ""),
    ("{a: {match: {event: page_view}}}", "goals.a.match", "cannot be a view or a click", "event: purchase"),
    ("{a: {kind: micro, match: {event: click}}}", "goals.a.match", "any click", "properties.link: pricing"),
    ("{a: {kind: mirco, match: {event: click}}}", "goals.a.kind", "not one of", "did you mean micro?"),
    ("{a: {match: {event: }}}", "goals.a.match.event", "must be a value", "text"),
    ("{a: {match: {event: []}}}", "goals.a.match", "empty list", "at least one"),
    ("{a: {match: {event: [[purchase]]}}}", "goals.a.match.event[0]", "is a list", "text"),
    ("{all: {match: {event: purchase}}}", "goals.all", "meaning of its own", "another name"),
    ("{'a\"b': {match: {event: purchase}}}", 'goals.a"b', "label value", "A-Z"),
    ("{a: {match: {event: purchase}, revenue: amount}}", "goals.a.revenue", "is not value", "value"),
    ("{a: {match: {event: purchase}, default_currency: eur}}", "goals.a.default_currency", "is not", "EUR"),
    ("{a: {match: {event: purchase}, default_currency: XYZ}}", "goals.a.default_currency", "no currency", ""),
    ("{a: {match: {event: purchase}, expected_rate: 4}}", "goals.a.expected_rate", "bounds", "0.04 for 4 %"),
    ("{a: {matches: {event: purchase}}}", "goals.a.matches", "unknown key", "did you mean match?"),
]


@pytest.mark.parametrize(("goals", "key", "reason", "remedy"), BAD_GOALS, ids=[case[0] for case in BAD_GOALS])
def test_what_is_wrong_with_a_goal_is_told(goals, key, reason, remedy):
    found = problems(f"clock: wall\ngoals: {goals}")
    fits = [p for p in found if reason in p.reason and remedy in p.remedy and p.key == key]
    assert fits, found
    assert fits[0].line == 2


def test_all_problems_are_told_at_once_in_the_order_of_lines():
    found = problems(
        """\
allowed_lateness: 40m
windos: [1m]
kafka: {partitions: -1, security: {password: "${PW}"}}
goals:
  a: {match: {event: click}}
  b: {match: {event: purchase}, kind: big}
"""
    )
    assert [(p.line, p.key) for p in found] == [
        (1, "allowed_lateness"),
        (1, "allowed_lateness"),
        (2, "windos"),
        (3, "kafka.security.password"),
        (3, "kafka.partitions"),
        (5, "goals.a.match"),
        (6, "goals.b.kind"),
    ]


def test_contradictions_are_told_although_goals_are_missing():
    keys = {p.key: p.line for p in problems("allowed_lateness: 1h\n")}
    assert keys == {"goals": None, "allowed_lateness": 1}


def test_a_bad_value_does_not_contradict_by_its_default():
    assert [
        p.key for p in problems(f"session_gap: 2 h\nallowed_lateness: 40m\ndedupe_window: 1h\n{GOALS}")
    ] == ["session_gap"]


ODD_VALUES = [
    *("", "~", "[]", "{}", "[[]]", "[{}]", "{a: }", "[1, 1]", "&a [*a]", "true", "-1", "0", "1e400", ".inf"),
    *("'x'", "'${'", "${X:-}", "é", "1" * 5_000, "2026-01-01", "|\n   text"),
    *("!!python/object:os.system x", "!!binary eA=="),
]


def paths(record=ConfigFile, prefix=()):
    for key in keys_of(record):
        yield (*prefix, key.name)
        inner = getattr(key.kind, "record", None) or getattr(getattr(key.kind, "item", None), "record", None)
        if inner is not None:
            yield from paths(inner, (*prefix, key.name))


@pytest.mark.parametrize(
    "path", [*paths(), ("goals", "a", "match"), ("goals", "a", "match", "event")], ids=".".join
)
def test_an_odd_value_is_used_or_told_and_never_a_crash(path):
    for value in ODD_VALUES:
        text = value
        for key in reversed(path[1:]):
            text = f"{{{key}: {text}}}" if "\n" not in text else "~"
        for wrapped in (f"{path[0]}: {text}\n{GOALS}", f"{path[0]}: [{text}]\n{GOALS}", f"{path[0]}: {text}"):
            try:
                parse_settings(wrapped, {})
            except ConfigError as error:
                told = error.problems
                unclear = [problem for problem in told if not problem.reason]
            else:
                continue
            assert told
            assert unclear == []


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "- a", "just words", "a: [", "a:\n\tb: 1", "%", "a: \x07"]
)
def test_what_is_no_mapping_is_told(text):
    assert len(problems(text)) == 1


def test_aliases_without_end_are_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert any("alias" in p.reason for p in problems("\n".join(lines)))


def test_aliases_may_save_typing():
    text = "goals:\n  a: {match: &m {event: purchase}}\n  b: {match: *m, kind: micro}\n"
    assert len(parse_settings(text, {}).rules.goals) == 2


def test_deep_nesting_is_told():
    assert problems("a: " + "[" * 5_000)


@pytest.mark.parametrize(
    ("salt", "environ", "read"),
    [
        ("${SALT}", {"SALT": "x: #y"}, "x: #y"),
        ("${SALT}", {"SALT": ""}, ""),
        ("${SALT}", {"SALT": "${OTHER}"}, "${OTHER}"),
        ("${SALT:-d}", {}, "d"),
        ("${SALT:-d}", {"SALT": ""}, "d"),
        ("${SALT:-}", {}, ""),
        ("a-${SALT}-${B:-b}", {"SALT": "1"}, "a-1-b"),
        ("$${SALT}", {}, "${SALT}"),
        ("$5", {}, "$5"),
    ],
)
def test_references_take_values_from_the_mapping(salt, environ, read):
    assert parse_settings(f"privacy: {{salt: '{salt}'}}\n{GOALS}", environ).privacy.salt == read


def test_references_may_stand_for_numbers_and_flags():
    text = (
        f'http: {{port: "${{PORT}}"}}\nkafka: {{create_topics: "${{MAKE:-false}}", topic: "${{T}}"}}\n{GOALS}'
    )
    settings = parse_settings(text, {"PORT": "8123", "T": "2024"})
    assert (settings.http.port, settings.kafka.create_topics, settings.kafka.topic) == (8123, False, "2024")


def test_nothing_else_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("KAFKA_TOPIC", "other")
    monkeypatch.setenv("SALT", "leaked")
    assert parse_settings(GOALS, {"topic": "other"}).kafka.topic == "clickstream"
    assert problems(f"privacy: {{salt: '${{SALT}}'}}\n{GOALS}")


def test_secrets_are_in_no_message_and_no_repr():
    environ = {"PW": "hunter2", "N": "hunter2"}
    security = "{protocol: SASL_SSL, mechanism: PLAIN, username: u, password: '${PW}'}"
    settings = parse_settings(
        f"privacy: {{salt: '${{N}}'}}\nkafka: {{security: {security}}}\n{GOALS}", environ
    )
    assert settings.kafka.security.password == "hunter2"
    assert "hunter2" not in repr(settings)
    for line in ("http: {port: '${N}'}", "idle_after: ${N}", "windows: ['${N}']", "clock: ${N}"):
        assert "hunter2" not in str(problems(f"{line}\n{GOALS}", environ))


def test_a_file_that_is_not_there_or_not_text_is_told(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load_settings(tmp_path / "nope.yaml", {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(tmp_path, {})
    (tmp_path / "latin.yaml").write_bytes(b"goals: \xe9")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_settings(tmp_path / "latin.yaml", {})


def test_a_byte_order_mark_is_no_key(tmp_path):
    path = tmp_path / "monitor.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOALS.replace("\n", "\r\n").encode())
    assert load_settings(path, {}).rules.goals


@pytest.mark.parametrize(
    ("mute", "series", "covered"),
    [
        (Mute(goal="a"), ("a", "all", "all"), True),
        (Mute(goal="a"), ("b", "all", "all"), False),
        (Mute(dimension="device", value="tv"), ("b", "device", "tv"), True),
        (Mute(dimension="device", value="tv"), ("b", "device", "pc"), False),
    ],
)
def test_a_mute_covers_what_it_names(mute, series, covered):
    assert mute.covers(*series) is covered
