"""`publish` and `broker` as commands: what arrives, what is reported, how it exits."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.partitioner import murmur2

from streams.embedded import free_port
from streams.offsets import end_offsets
from streams.topics import TopicAdmin
from tests.brokers import create_topic
from tests.conftest import PROJECT

MAIN = [sys.executable, "-m", "streams.cli"]
REES46 = [
    *("--map", "timestamp=event_time", "--map", "event=event_type"),
    *("--map", "visitor_id=user_id", "--map", "session_id=user_session"),
    *("--map", "value=price", "--const", "currency=USD"),
    *("--map", "properties.brand=brand", "--map", "properties.category=category_code"),
    *("--rename", "event=view:page_view", "--rename", "event=cart:add_to_cart"),
]
HEADER = "event,visitor_id,timestamp\n"


def run(*arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MAIN, *map(str, arguments)],
        cwd=PROJECT,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def read_all(bootstrap: str, topic: str) -> list[ConsumerRecord]:
    async with TopicAdmin(bootstrap, {}) as admin:
        count = (await admin.partitions())[topic]
    partitions = [TopicPartition(topic, p) for p in range(count)]
    ends = await end_offsets(bootstrap, partitions)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign(partitions)
        found: list[ConsumerRecord] = []
        while len(found) < sum(ends.values()):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += records
    finally:
        await consumer.stop()
    return found


async def test_a_shops_day_arrives_keyed_by_visitor_but_for_its_cut_row(broker, topic, shared_data):
    await create_topic(broker.bootstrap, topic, 4)
    file = shared_data / "rees46-2019-10-01.csv"
    done = run("publish", "--bootstrap", broker.bootstrap, "--topic", topic, file, *REES46, "--event-id")
    assert done.returncode == 1
    assert f"{file}:17436: 8 columns, the header has 9" in done.stderr
    assert f"17,434 of 17,435 rows published to {topic}" in done.stdout
    assert "1 could not be mapped, left out" in done.stdout

    records = await read_all(broker.bootstrap, topic)
    events = [json.loads(r.value) for r in records]
    assert Counter(e["event"] for e in events) == {"page_view": 17_055, "add_to_cart": 165, "purchase": 214}
    assert all(r.key.decode() == e["visitor_id"] for r, e in zip(records, events, strict=True))
    assert all(r.partition == (murmur2(r.key) & 0x7FFFFFFF) % 4 for r in records)
    assert len({e["event_id"] for e in events}) == 17_434
    assert events[0]["event_id"].startswith("rees46-2019-10-01.csv:")
    lines = file.read_text().splitlines()
    amounts = {
        f"{file.name}:{n}": Decimal(line.split(",")[6]) for n, line in enumerate(lines[:-1], 1) if n > 1
    }
    assert all(type(e["value"]) is str and Decimal(e["value"]) == amounts[e["event_id"]] for e in events)
    assert all("" not in e["properties"].values() for e in events if "properties" in e)
    for partition in range(4):  # in the order of the file
        numbers = [
            int(e["event_id"].split(":")[1])
            for r, e in zip(records, events, strict=True)
            if r.partition == partition
        ]
        assert numbers == sorted(numbers)


async def test_bad_rows_are_sent_as_they_are_when_asked(broker, topic, tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(HEADER.encode() + b"page_view,v,1569888000\nbroken\nview,,x\n\xff,v,1\n")
    done = run("publish", "--bootstrap", broker.bootstrap, "--topic", topic, file, "--send-bad", "--json")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert (report["rows"], report["published"], report["bad"], report["sent_bad"]) == (4, 1, 3, 3)
    assert [(b["file"], b["line"]) for b in report["bad_rows"]] == [(str(file), n) for n in (3, 4, 5)]
    raw = {r.value for r in await read_all(broker.bootstrap, topic) if r.key is None}
    assert raw == {b"broken", b"view,,x", b"\xff,v,1"}


async def test_events_from_standard_input_pass_unchanged(embedded, topic):
    line = '{"visitor_id": "v",  "event": "page_view", "timestamp": "2019-10-01T00:00:00+02:00"}'
    done = run("publish", "--bootstrap", embedded.bootstrap, "--topic", topic, "-", stdin=f"{line}\n\n{line}")
    assert done.returncode == 0, done.stderr
    assert "created topic" in done.stderr
    assert [r.value.decode() for r in await read_all(embedded.bootstrap, topic)] == [line, line]


async def test_now_shifts_the_latest_event_to_now_also_from_standard_input(embedded, topic):
    rows = HEADER + "page_view,v,1569888000\npage_view,v,1569888060\npage_view,v,1569888030\n"
    before = time.time() * 1000
    done = run(
        "publish", "--bootstrap", embedded.bootstrap, "--topic", topic, "-", "--now", "--event-id", stdin=rows
    )
    assert done.returncode == 0, done.stderr
    records = await read_all(embedded.bootstrap, topic)
    events = sorted((json.loads(r.value) for r in records), key=lambda e: e["event_id"])
    times = [e["timestamp"] for e in events]
    assert before <= times[1] <= time.time() * 1000
    assert [times[1] - t for t in times] == [60_000, 0, 30_000]
    assert [e["event_id"] for e in events] == ["stdin:2", "stdin:3", "stdin:4"]


async def test_a_line_of_a_slow_pipe_is_sent_before_the_next_one_comes(embedded, topic):
    await create_topic(embedded.bootstrap, topic)
    command = [*MAIN, "publish", "--bootstrap", embedded.bootstrap, "--topic", topic, "-"]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            process.stdin.write(b'{"visitor_id":"v","event":"page_view","timestamp":1569888000000}\n')
            process.stdin.flush()
            deadline = time.monotonic() + 20
            partition = TopicPartition(topic, 0)
            while (await end_offsets(embedded.bootstrap, [partition]))[partition] == 0:
                assert time.monotonic() < deadline
                assert process.poll() is None
            process.stdin.close()
            assert process.wait(20) == 0
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("options", "seconds"), [(["--rate", "20"], 1.0), (["--speedup", "60"], 1.0), (["--speedup", "600"], 0.1)]
)
async def test_pace(embedded, topic, tmp_path, options, seconds):
    file = tmp_path / "a.csv"
    file.write_text(HEADER + "".join(f"page_view,v{n},{1_569_888_000 + 3 * n}\n" for n in range(21)))
    done = run("publish", "--bootstrap", embedded.bootstrap, "--topic", topic, file, "--json", *options)
    report = json.loads(done.stdout)
    assert report["published"] == 21
    assert seconds <= report["seconds"] < seconds + 1.0
    assert (report["first_ms"], report["last_ms"]) == (1_569_888_000_000, 1_569_888_060_000)


async def test_several_files_and_one_event_too_large_for_any_broker(embedded, topic, tmp_path):
    (tmp_path / "a.csv").write_text(HEADER + "page_view,v,1569888000\n")
    (tmp_path / "b.jsonl").write_text(json.dumps({"x": "y" * 2_000_000}) + "\n")
    done = run(
        "publish",
        *("--bootstrap", embedded.bootstrap, "--topic", topic, "--json", "--send-bad"),
        *(tmp_path / "a.csv", tmp_path / "b.jsonl"),
    )
    report = json.loads(done.stdout)
    assert (report["published"], report["bad"], report["sent_bad"], report["failed"]) == (1, 1, 0, 1)
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gone.csv"], "cannot be read: No such file"),
        (["a.csv", "--map", "visitor_id=usr"], "no column 'usr' → its columns: event, visitor_id, timestamp"),
        (["a.csv", "--map", "visitor=usr"], "an event has no field 'visitor'"),
        (["a.csv", "--map", "visitor_id"], "is not FIELD=COLUMN"),
        (["a.csv", "--map", "event=event", "--map", "event=visitor_id"], "--map event is there twice"),
        (["a.csv", "--rename", "event=view"], "is not FIELD=THEIRS:OURS"),
        (["a.csv", "--const", "currency="], "is not FIELD=VALUE"),
        (["a.csv", "--rate", "0"], "--rate"),
        (["a.csv", "other/a.csv", "--event-id"], "there are two sources called a.csv"),
        (["-", "-"], "there are two sources called stdin"),
        ([], "FILE"),
    ],
)
def test_wrong_usage_exits_2_before_anything_is_sent(tmp_path, arguments, says):
    (tmp_path / "a.csv").write_text(HEADER)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.csv").write_text(HEADER)
    named = [tmp_path / a if a.endswith(".csv") else a for a in arguments]
    done = run("publish", "--bootstrap", f"127.0.0.1:{free_port()}", *named)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_no_broker_exits_1_and_says_where_it_looked(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text(HEADER)
    bootstrap = f"127.0.0.1:{free_port()}"
    done = run("publish", "--bootstrap", bootstrap, tmp_path / "a.csv")
    assert done.returncode == 1
    assert f"no Kafka broker at {bootstrap} within 10 s: connection refused" in done.stderr


async def test_a_missing_topic_can_be_an_error(embedded, topic, tmp_path):
    (tmp_path / "a.csv").write_text(HEADER)
    done = run(
        "publish",
        "--bootstrap",
        embedded.bootstrap,
        "--topic",
        topic,
        "--partitions",
        "0",
        tmp_path / "a.csv",
    )
    assert done.returncode == 1
    assert f"--create --topic {topic}" in done.stderr


async def test_config_names_broker_and_topic(embedded, topic, tmp_path):
    goals = "goals: {purchase: {kind: macro, match: {event: purchase}}}\n"
    config = tmp_path / "monitor.yaml"
    config.write_text(f"kafka: {{bootstrap_servers: '{embedded.bootstrap}', topic: {topic}}}\n{goals}")
    (tmp_path / "a.csv").write_text(HEADER + "page_view,v,1569888000\n")
    done = run("publish", "--config", config, tmp_path / "a.csv", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["topic"] == topic
    config.write_text(f"kafka: {{bootstrap_servers: embedded}}\n{goals}")
    done = run("publish", "--config", config, tmp_path / "a.csv")
    assert done.returncode == 2
    assert "give --bootstrap" in done.stderr


def test_help_shows_the_shops_example():
    done = run("publish", "--help")
    assert done.returncode == 0
    for part in ("--map timestamp=event_time", "--rename event=cart:add_to_cart", "REES46"):
        assert part in done.stdout


@pytest.mark.embedded
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_broker_runs_until_it_is_told_and_leaves_nothing(number):
    with subprocess.Popen(
        [*MAIN, "broker", "--port", "0", "--json"], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            told = json.loads(process.stdout.readline())
            done = run("publish", "--bootstrap", told["bootstrap"], "-", stdin="")
            assert done.returncode == 0, done.stderr
            process.send_signal(number)
            assert process.wait(10) == 0
        finally:
            process.kill()
    with pytest.raises(ProcessLookupError):
        os.kill(told["pid"], 0)


@pytest.mark.embedded
def test_broker_on_a_port_in_use_exits_1(embedded):
    port = embedded.bootstrap.rpartition(":")[2]
    done = run("broker", "--port", port)
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 is in use" in done.stderr
    assert "--port" in done.stderr


@pytest.mark.embedded
def test_broker_that_dies_is_an_error():
    with subprocess.Popen(
        [*MAIN, "broker", "--port", "0", "--json"],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            os.kill(json.loads(process.stdout.readline())["pid"], signal.SIGKILL)
            assert process.wait(10) == 1
            assert "ended by itself" in process.stderr.read()
        finally:
            process.kill()
