"""SASL against Apache Kafka: the commands get in with the password and say so without."""

import pytest

from streams.connection import client_arguments, try_broker
from streams.settings import Security
from tests.brokers import KafkaServer
from tests.integration.test_publish import HEADER, run

JAAS = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_monitor="secret";'


@pytest.fixture
async def secured(kafka_server: KafkaServer, tmp_path):
    """A Kafka with a SASL listener; the path of a config that uses it."""
    server = KafkaServer(
        tmp_path / "secured",
        listeners={"SASL_PLAINTEXT": 0},
        properties={
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": JAAS,
        },
    )
    try:
        yield await server.start()
    finally:
        server.stop()


@pytest.mark.slow
async def test_sasl_lets_in_who_knows_the_password(secured, tmp_path):
    bootstrap = f"127.0.0.1:{secured.ports['SASL_PLAINTEXT']}"
    right = Security("SASL_PLAINTEXT", "PLAIN", "monitor", "secret")
    assert await try_broker(bootstrap, **client_arguments(right)) is None
    wrong = Security("SASL_PLAINTEXT", "PLAIN", "monitor", "guess")
    for arguments in (client_arguments(wrong), {}):
        assert "does not answer as Kafka" in await try_broker(bootstrap, **arguments)

    config = tmp_path / "monitor.yaml"
    config.write_text(
        f"kafka:\n  bootstrap_servers: {bootstrap}\n"
        "  security: {protocol: SASL_PLAINTEXT, mechanism: PLAIN, username: monitor, password: secret}\n"
        "goals: {purchase: {kind: macro, match: {event: purchase}}}\n"
    )
    (tmp_path / "a.csv").write_text(HEADER + "page_view,v,1569888000\n")
    assert run("publish", "--config", config, tmp_path / "a.csv").returncode == 0
    done = run("doctor", "--config", config)
    assert done.returncode == 0, done.stdout
    assert "clickstream has 4 partitions" in done.stdout
