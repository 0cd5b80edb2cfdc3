"""docker-compose.yml and the Dockerfile: accepted by their tools, and true to the code and to each other."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.cli import cli
from streams.settings import load_settings
from tests.brokers import KafkaUnavailableError, create_topic, fetch_jars
from tests.conftest import PROJECT, Broker, leave_out
from tests.deploy.servers import HOST, Process, free_port, wait_until
from tests.deploy.tools import DEPLOY, read_yaml, run, said

COMPOSE = PROJECT / "docker-compose.yml"
DOCKERFILE = DEPLOY / "Dockerfile"
SERVICES: dict[str, dict[str, Any]] = read_yaml(COMPOSE)["services"]
#: Services that run our own image.
OURS = {
    name: service for name, service in SERVICES.items() if service["image"].startswith("conversion-monitor:")
}
WORKERS = {name: service for name, service in OURS.items() if "entrypoint" not in service}

#: Images as they were seen in public files; none was pulled when this was written.
IMAGES = {
    "kafka": "apache/kafka:4.3.1",
    "prometheus": "prom/prometheus:v3.13.5",
    "alertmanager": "prom/alertmanager:v0.33.1",
    "grafana": "grafana/grafana:13.2.3",
    "kafka-ui": "kafbat/kafka-ui:v1.5.0",
}
#: What these write below their root: Kafka its config; of kafka-ui it is not known.
WRITABLE = {"kafka", "kafka-ui"}


# -- the tools --


@pytest.mark.deploy
@pytest.mark.parametrize(
    "profiles", [(), ("demo",), ("ui",), ("demo", "ui")], ids=lambda p: "+".join(p) or "none"
)
def test_compose_accepts_the_file(profiles: tuple[str, ...]) -> None:
    chosen = [part for profile in profiles for part in ("--profile", profile)]
    done = run("docker-compose", "-f", COMPOSE, *chosen, "config", "--format", "json")
    assert done.returncode == 0, said(done)
    assert "variable is not set" not in said(done)
    wanted = {
        name for name, s in SERVICES.items() if not s.get("profiles") or set(s["profiles"]) & set(profiles)
    }
    assert set(json.loads(done.stdout)["services"]) == wanted


@pytest.mark.deploy
def test_compose_fits_the_schema_of_the_compose_specification() -> None:
    done = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)
    assert done.returncode == 0, said(done)


@pytest.mark.deploy
def test_compose_lint_finds_only_what_is_known() -> None:
    done = run("compose-lint", "--format", "json", COMPOSE)
    found = json.loads(done.stdout)
    findings = {
        (f["service"], f["rule_id"]) for f in (found["findings"] if isinstance(found, dict) else found)
    }
    no_digest = {
        (name, "CL-0019") for name in SERVICES
    }  # tags that nobody here has pulled: no digest to invent
    assert findings <= no_digest | {(name, "CL-0007") for name in WRITABLE}, said(done)


@pytest.mark.deploy
def test_hadolint_finds_nothing() -> None:
    done = run("hadolint", DOCKERFILE)
    assert done.returncode == 0, said(done)


# -- hardening --


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_bounded_checked_and_without_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["image"] == IMAGES.get(name, f"conversion-monitor:{version()}")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["cpus"]
    assert service["pids_limit"]
    assert service["logging"]["options"]["max-size"]
    assert service.get("read_only", False) is (name not in WRITABLE)
    if name != "kafka-ui":  # its image has a user of its own with an id that is not promised
        uid = int(service["user"].split(":")[0])
        assert uid > 0
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")
    if name != "demo-publisher":
        assert service["healthcheck"]["test"][0] == "CMD"


def test_every_volume_is_declared_and_every_mounted_file_exists() -> None:
    mounted = [v.split(":") for service in SERVICES.values() for v in service.get("volumes", [])]
    named = {source for source, *_ in mounted if not source.startswith(".")}
    assert named == set(read_yaml(COMPOSE)["volumes"])
    for source, _, *mode in mounted:
        if source.startswith("."):
            assert (PROJECT / source).exists(), source
            assert mode == ["ro"], source


# -- against the code --


def version() -> str:
    found: str = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return found


def container_port(service: dict[str, Any]) -> tuple[int, int]:
    """Published port → port in the container."""
    [port] = service["ports"]
    _, outside, inside = port.split(":")
    return int(outside), int(inside)


@pytest.mark.parametrize("name", WORKERS)
def test_the_command_line_accepts_the_command(name: str) -> None:
    command, *arguments = OURS[name]["command"]
    with click.Context(cli) as context:
        found = cli.get_command(context, command)
        assert found is not None, f"there is no command {command}"
        found.make_context(command, list(arguments), parent=context)


@pytest.mark.parametrize("name", WORKERS)
def test_the_config_is_good_and_fits_ports_volumes_and_broker(name: str) -> None:
    service = WORKERS[name]
    mounts = {inside: source for source, inside, *_ in (volume.split(":") for volume in service["volumes"])}
    path = service["command"][service["command"].index("--config") + 1]
    settings = load_settings(PROJECT / mounts[path], {"PUBLIC_URL": service["environment"]["PUBLIC_URL"]})
    outside, inside = container_port(service)
    assert settings.http.port == inside
    assert settings.http.host == "0.0.0.0"
    assert settings.http.url == f"http://127.0.0.1:{outside}"
    assert str(settings.data_dir) in mounts
    listeners = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert f"PLAINTEXT://{settings.kafka.bootstrap_servers}" in listeners.split(",")
    assert set(re.findall(r"\$\{(\w+)", (PROJECT / mounts[path]).read_text())) == set(service["environment"])


@pytest.mark.embedded
def test_the_demo_publisher_fills_the_topic_and_ends_on_sigterm(
    embedded: Broker, topic: str, tmp_path: Path
) -> None:
    service = SERVICES["demo-publisher"]
    [(source, inside)] = [volume.split(":")[:2] for volume in service["volumes"]]
    assert service["entrypoint"] == ["python", inside]
    bootstrap, name = service["command"]
    settings = load_settings(DEPLOY / "monitor.yaml", {"PUBLIC_URL": "http://127.0.0.1:8000"})
    assert (bootstrap, name) == (settings.kafka.bootstrap_servers, settings.kafka.topic)
    asyncio.run(create_topic(embedded.bootstrap, topic, 4))
    publisher = Process(tmp_path)
    try:
        publisher.launch(sys.executable, str(PROJECT / source), embedded.bootstrap, topic)
        wait_until(lambda: "publishing to" in publisher.said(), f"it starts: {publisher.said()}", 20)
        wait_until(lambda: asyncio.run(records(embedded.bootstrap, topic)) > 1000, "it publishes", 30)
    finally:
        publisher.stop()
    assert re.search(r"^\d+ events published$", publisher.said(), re.MULTILINE)


async def records(bootstrap: str, topic: str) -> int:
    """Records that a topic holds, 5,000 at most."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, k) for k in range(4)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        found = await consumer.getmany(timeout_ms=2000, max_records=5000)
        return sum(len(batch) for batch in found.values())
    finally:
        await consumer.stop()


def test_health_checks_ask_for_pages_that_exist() -> None:
    pages = set(
        re.findall(r'web\.get\("(/[^"]*)"', (PROJECT / "streams" / "web.py").read_text(encoding="utf-8"))
    )
    for service in WORKERS.values():
        [asked] = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)", " ".join(service["healthcheck"]["test"]))
        assert asked == (str(container_port(service)[1]), "/healthz")
        assert asked[1] in pages
    assert {"/metrics", "/readyz"} <= pages


def test_prometheus_and_grafana_find_their_neighbours() -> None:
    config = read_yaml(DEPLOY / "prometheus" / "prometheus.yml")
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert jobs["conversion-monitor"] == [f"{name}:{container_port(s)[1]}" for name, s in WORKERS.items()]
    assert jobs["alertmanager"] == [f"alertmanager:{container_port(SERVICES['alertmanager'])[1]}"]
    assert config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == jobs["alertmanager"]
    [source] = read_yaml(DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml")[
        "datasources"
    ]
    assert source["url"] == f"http://prometheus:{container_port(SERVICES['prometheus'])[1]}"
    for name in ("prometheus", "alertmanager"):
        folder = f"./deploy/{name}:/etc/{name}:ro"
        assert folder in SERVICES[name]["volumes"]
        assert f"--config.file=/etc/{name}/{name}.yml" in SERVICES[name]["command"]


def test_dockerfile_fits_the_package() -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    [entry] = re.findall(r"^ENTRYPOINT (.+)$", text, re.MULTILINE)
    assert json.loads(entry)[0] in project["project"]["scripts"]
    assert re.findall(r"^EXPOSE (\d+)$", text, re.MULTILINE) == [str(load_minimal().http.port)]
    [user] = re.findall(r"^USER (\S+)$", text, re.MULTILINE)
    [home] = re.findall(r"^VOLUME (\S+)$", text, re.MULTILINE)
    for service in OURS.values():
        assert service["user"] == user
    for service in WORKERS.values():
        assert any(volume.split(":")[1] == home for volume in service["volumes"])
    let_in = {
        line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    packages = {
        pattern.rstrip("*") for pattern in project["tool"]["setuptools"]["packages"]["find"]["include"]
    }
    assert let_in == packages | {"pyproject.toml", "constraints.txt", "LICENSE", project["project"]["readme"]}


def load_minimal() -> Any:
    return load_settings(PROJECT / "examples" / "minimal.yaml", {})


# -- Kafka's environment, by Kafka itself --


@pytest.mark.deploy
@pytest.mark.kafka
def test_kafka_starts_with_the_environment_of_the_file(tmp_path: Path) -> None:
    """The image makes server.properties of its environment by Kafka's KafkaDockerWrapper: so do we."""
    try:
        jars = f"{fetch_jars()}/*"
    except KafkaUnavailableError as error:
        leave_out(f"Apache Kafka: {error}")
    ports = {port: free_port() for port in ("9092", "9093", "9094")}
    environment = {"PATH": os.environ["PATH"]}
    for key, given in SERVICES["kafka"]["environment"].items():
        here = given.replace("kafka:", f"{HOST}:").replace("://:", f"://{HOST}:")
        here = re.sub(r"\b(909[234])\b", lambda found: str(ports[found[1]]), here)
        environment[key] = here.replace("/var/lib/kafka/data", str(tmp_path / "data"))
    for name in ("default", "mounted", "final"):
        (tmp_path / name).mkdir()
    (tmp_path / "default" / "server.properties").touch()
    for name in ("log4j2.yaml", "tools-log4j2.yaml"):
        (tmp_path / "default" / name).write_text("Configuration: {Loggers: {Root: {level: info}}}\n")
    folders = [f"--{name}-configs-dir={tmp_path / name}" for name in ("default", "mounted", "final")]
    wrapper = ["java", "-cp", jars, "kafka.docker.KafkaDockerWrapper", "setup", *folders]
    done = subprocess.run(wrapper, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, said(done)
    broker = Process(tmp_path)
    try:
        broker.launch(
            "java", "-Xmx512m", "-cp", jars, "kafka.Kafka", str(tmp_path / "final" / "server.properties")
        )

        def serves() -> bool:
            try:
                asyncio.run(create_topic(f"{HOST}:{ports['9094']}", "clickstream", 4))
            except Exception as error:
                raise AssertionError(error) from error
            return True

        wait_until(serves, f"Kafka as docker-compose.yml configures it: {broker.said()}", 60)
    finally:
        broker.stop()
