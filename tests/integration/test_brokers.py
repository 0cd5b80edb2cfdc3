"""The Kafka that tests start: keeps its data over a kill, and says why it cannot be had."""

import subprocess
import sys

import pytest
from aiokafka import TopicPartition

from streams.offsets import end_offsets
from tests import brokers
from tests.brokers import KafkaUnavailableError, create_topic, fetch_jars
from tests.conftest import PROJECT
from tests.integration.test_offsets import send_batches


@pytest.mark.slow
async def test_records_outlive_a_kill_and_a_restart(kafka_server, topic):
    await kafka_server.start()
    pid, port = kafka_server.pid, kafka_server.port
    await create_topic(kafka_server.bootstrap, topic)
    await send_batches(kafka_server.bootstrap, topic, 0, [500])
    kafka_server.kill()
    assert kafka_server.pid is None
    await kafka_server.start()
    assert kafka_server.pid != pid
    assert kafka_server.port == port
    partition = TopicPartition(topic, 0)
    assert await end_offsets(kafka_server.bootstrap, [partition]) == {partition: 500}
    kafka_server.stop()
    assert kafka_server.pid is None


def test_no_java_is_a_reason(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(KafkaUnavailableError, match="no java"):
        fetch_jars()


def test_no_maven_is_a_reason(monkeypatch, tmp_path):
    monkeypatch.delenv("KAFKA_JARS", raising=False)
    monkeypatch.setattr(brokers, "CACHE", tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: None if name == "mvn" else f"/usr/bin/{name}")
    with pytest.raises(KafkaUnavailableError, match="no mvn"):
        fetch_jars()


def test_a_jar_directory_without_kafka_is_a_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("KAFKA_JARS", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(KafkaUnavailableError, match="KAFKA_JARS"):
        fetch_jars()


@pytest.mark.parametrize(("ci", "says"), [("", "1 skipped"), ("1", "1 error")])
def test_without_java_a_test_is_left_out_but_fails_under_ci(ci, says):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/integration/test_offsets.py", "-k", "were_deleted"],
        cwd=PROJECT,
        env={"PATH": "/nowhere", "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert says in done.stdout
    assert "Apache Kafka: no java on the PATH" in done.stdout
    if not ci:
        assert "left out" in done.stdout
