"""The Helm chart and the plain manifests: linted, rendered, valid for Kubernetes, true to the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from streams.settings import load_settings
from tests.conftest import PROJECT
from tests.deploy.test_compose import DOCKERFILE, version
from tests.deploy.tools import DASHBOARDS, DEPLOY, RULES, in_tools, read_yaml, read_yamls, run, said

pytestmark = pytest.mark.deploy
CHART = DEPLOY / "helm" / "conversion-monitor"
PLAIN = DEPLOY / "kubernetes"

#: Everything switched on.
FULL: dict[str, Any] = {
    "secretEnv": [{"name": "MONITOR_SALT", "secret": "monitor", "key": "salt"}],
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "runbook": "https://wiki.example.com/runbook"},
    "dashboards": {"enabled": True},
    "podAnnotations": {"team": "shop"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "imagePullSecrets": [{"name": "registry"}],
}

RENDER = """
import helm_python
try:
    rendered = helm_python.Chart.load(arguments[0]).render(arguments[1], name="shop", namespace="web")
    answer = {path.rsplit("/", 1)[1]: text for path, text in rendered.items()}
except helm_python.HelmError as error:
    answer = {"error": str(error)}
"""


def rendered(values: dict[str, Any]) -> dict[str, str]:
    answer: dict[str, str] = in_tools(RENDER, CHART, values)
    return answer


def objects(values: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """(kind, name) → object."""
    texts = [text for name, text in rendered(values).items() if name != "NOTES.txt"]
    found = [document for text in texts for document in read_yamls(text)]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


@pytest.mark.parametrize("values", [{}, FULL], ids=["defaults", "everything on"])
def test_helm_lint_finds_nothing(values: dict[str, Any]) -> None:
    answer = in_tools(
        "import helm_python\nanswer = helm_python.lint(arguments[0], arguments[1], strict=True)",
        CHART,
        values,
    )
    assert answer["errors"] == []
    assert [m for m in answer["messages"] if "icon is recommended" not in m["error"]] == []


@pytest.mark.parametrize("values", [{}, FULL], ids=["defaults", "everything on"])
@pytest.mark.parametrize("kubernetes", ["1.27.0", "1.34.0"])
def test_objects_fit_the_schemas_of_kubernetes(
    values: dict[str, Any], kubernetes: str, tmp_path: Path
) -> None:
    for name, text in rendered(values).items():
        if text.strip() and name not in ("NOTES.txt", "servicemonitor.yaml", "prometheusrule.yaml"):
            (tmp_path / name).write_text(text, encoding="utf-8")
    files = sorted(tmp_path.glob("*.yaml"))
    assert len(files) == 5 + bool(values)
    done = run("kubernetes-validate", "--strict", "-k", kubernetes, *files)
    assert done.returncode == 0, said(done)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"replica": 3}, "replica"),
        ({"replicas": 0}, "replicas"),
        ({"image": {"repository": "x", "tag": "latest"}}, "tag"),
        ({"config": {"goals": None}}, "goals"),
        ({"config": {"http": {"port": 9000}}}, "http"),
        ({"secretEnv": [{"name": "salt"}]}, "secretEnv"),
        ({"serviceMonitor": {"enabled": "yes"}}, "serviceMonitor"),
    ],
)
def test_wrong_values_are_refused_by_name(values: dict[str, Any], reason: str) -> None:
    assert reason in rendered(values)["error"]


def test_plain_manifests_are_what_the_chart_renders_and_kustomize_builds_them() -> None:
    done = run("python", PLAIN / "render.py", "--check")
    assert done.returncode == 0, said(done)
    done = run("kubectl", "kustomize", PLAIN)
    assert done.returncode == 0, said(done)
    built = {(one["kind"], one["metadata"]["name"]) for one in read_yamls(done.stdout)}
    assert built == {(kind, name.replace("shop", "conversion-monitor")) for kind, name in objects({})}
    assert all(one["metadata"]["namespace"] == "conversion-monitor" for one in read_yamls(done.stdout))


def test_packaged_chart_brings_rules_and_dashboards_along(tmp_path: Path) -> None:
    code = """
import helm_python
archive = helm_python.package(arguments[0], destination=arguments[1])
answer = [file["name"] for file in helm_python.Chart.load(archive).files]
"""
    inside = set(in_tools(code, CHART, tmp_path))
    assert inside >= {f"rules/{path.name}" for path in RULES} | {
        f"dashboards/{path.name}" for path in DASHBOARDS
    }


def test_alerts_are_those_of_the_rule_files() -> None:
    rule = objects(FULL)["PrometheusRule", "shop"]
    groups = [group for path in RULES for group in read_yaml(path)["groups"]]
    text = str(rule["spec"]["groups"])
    assert "https://wiki.example.com/runbook#conversionratedrop" in text
    assert "deploy/RUNBOOK.md" not in text
    plain = objects(FULL | {"prometheusRule": {"enabled": True}})["PrometheusRule", "shop"]
    assert plain["spec"]["groups"] == groups


def test_prometheus_finds_every_worker_under_the_public_job_name() -> None:
    found = objects(FULL)
    monitor, service = found["ServiceMonitor", "shop"]["spec"], found["Service", "shop-workers"]
    labels = service["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    assert (
        not monitor["selector"]["matchLabels"].items()
        <= found["Service", "shop"]["metadata"]["labels"].items()
    )
    assert labels[monitor["jobLabel"]] == "conversion-monitor"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert {port["name"] for port in service["spec"]["ports"]} == {monitor["endpoints"][0]["port"]}


def test_deployment_fits_code_image_and_config(tmp_path: Path) -> None:
    found = objects(FULL)
    pod = found["Deployment", "shop"]["spec"]["template"]["spec"]
    [worker] = pod["containers"]
    assert worker["image"] == f"conversion-monitor:{version()}"
    assert read_yaml(CHART / "Chart.yaml")["appVersion"] == version()
    [user] = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert (str(pod["securityContext"]["runAsUser"]), str(pod["securityContext"]["runAsGroup"])) == user
    mounts = {mount["mountPath"] for mount in worker["volumeMounts"]}
    config = tmp_path / "monitor.yaml"
    config.write_text(found["ConfigMap", "shop"]["data"]["monitor.yaml"], encoding="utf-8")
    settings = load_settings(config, {"POD_IP": "10.1.2.3", "MONITOR_SALT": "salt"})
    assert worker["args"][:3] == ["run", "--config", "/etc/conversion-monitor/monitor.yaml"]
    assert {"/etc/conversion-monitor", str(settings.data_dir)} <= mounts
    assert settings.http.url == "http://10.1.2.3:8000"
    assert settings.privacy.salt == "salt"
    assert [port["containerPort"] for port in worker["ports"]] == [settings.http.port]
    pages = (PROJECT / "streams" / "web.py").read_text(encoding="utf-8")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert f'web.get("{worker[probe]["httpGet"]["path"]}"' in pages
    assert {name for name in re.findall(r"\$\{(\w+)", config.read_text())} == {
        entry["name"] for entry in worker["env"]
    }
    kafka_ports = {int(server.split(":")[1]) for server in settings.kafka.bootstrap_servers.split(",")}
    egress = found["NetworkPolicy", "shop"]["spec"]["egress"]
    assert kafka_ports <= {port["port"] for rule in egress for port in rule["ports"]}


def test_a_changed_config_restarts_the_workers() -> None:
    def checksum(values: dict[str, Any]) -> str:
        template = objects(values)["Deployment", "shop"]["spec"]["template"]
        found: str = template["metadata"]["annotations"]["checksum/config"]
        return found

    assert checksum({}) == checksum({})
    assert checksum({}) != checksum({"config": {"allowed_lateness": "1m"}})
