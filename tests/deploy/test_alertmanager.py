"""deploy/alertmanager under amtool: who hears what, and whether the messages read like a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.deploy.tools import DEPLOY, alerts, read_yaml, run, said, write_yaml

pytestmark = pytest.mark.deploy
HERE = DEPLOY / "alertmanager"
CONFIG = HERE / "alertmanager.yml"
TEMPLATES = HERE / "templates" / "*.tmpl"


def test_config_and_templates_are_accepted(tmp_path: Path) -> None:
    config = read_yaml(CONFIG)
    assert config["templates"] == ["/etc/alertmanager/templates/*.tmpl"]
    config["templates"] = [str(TEMPLATES)]
    done = run("amtool", "check-config", write_yaml(tmp_path / "alertmanager.yml", config))
    assert done.returncode == 0, said(done)
    assert "1 templates" in done.stdout
    assert "3 receivers" in done.stdout


def routes() -> list[tuple[str, str]]:
    """Labels of every alert that a rule can raise → receivers that must hear it."""
    found = []
    for alert in alerts():
        labels = alert["labels"]
        if labels["area"] == "monitor":
            wanted = "platform"
        else:
            wanted = "on-call,product" if labels["severity"] == "critical" else "product"
        found.append(
            (f"alertname={alert['alert']} area={labels['area']} severity={labels['severity']}", wanted)
        )
    return [*found, ("alertname=Foreign", "platform")]


@pytest.mark.parametrize(("labels", "wanted"), routes())
def test_every_alert_reaches_the_right_people(labels: str, wanted: str) -> None:
    arguments = [f"--config.file={CONFIG}", f"--verify.receivers={wanted}", *labels.split()]
    done = run("amtool", "config", "routes", "test", *arguments)
    assert done.returncode == 0, said(done)


def test_secrets_are_files_and_no_receiver_has_one_inside() -> None:
    text = CONFIG.read_text(encoding="utf-8")
    for key in ("api_url:", "smtp_auth_password:", "credentials:", "bearer_token:", "password:"):
        assert f" {key}" not in text, f"{key} has a variant with _file"


def test_inhibition_names_alerts_that_exist() -> None:
    known = {alert["alert"] for alert in alerts()}
    named = set()
    for rule in read_yaml(CONFIG)["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            if matcher.startswith("alertname"):
                named |= set(matcher.split('"')[1].split("|"))
    assert named
    assert named <= known


def rendered(template: str, data: dict[str, object], tmp_path: Path, kind: str = "text") -> str:
    file = tmp_path / "data.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    call = f'{{{{ template "{template}" . }}}}'
    arguments = [f"--template.glob={TEMPLATES}", f"--template.text={call}", f"--template.data={file}"]
    done = run("amtool", "template", "render", f"--template.type={kind}", *arguments)
    assert done.returncode == 0, said(done)
    return done.stdout.strip()


def message(
    status: str = "firing", severity: str = "critical", sentences: tuple[str, ...] | None = None
) -> dict[str, object]:
    alerts = [alert_of(status, severity, sentence) for sentence in sentences or (SENTENCE,)]
    return {
        "receiver": "product",
        "status": status,
        "alerts": alerts,
        "groupLabels": {"goal": "purchase"},
        "commonLabels": alerts[0]["labels"],
        "commonAnnotations": {},
        "externalURL": "http://127.0.0.1:9093",
    }


def alert_of(status: str, severity: str, sentence: str) -> dict[str, object]:
    return {
        "status": status,
        "labels": {"alertname": "ConversionRateDrop", "severity": severity},
        "annotations": {
            "summary": sentence,
            "description": "Fewer visitors than expected convert.",
            "runbook_url": "deploy/RUNBOOK.md#conversionratedrop",
        },
        "startsAt": "2026-10-01T14:07:00Z",
        "endsAt": "2026-10-01T14:52:00Z",
    }


SENTENCE = "Purchase rate fell to 1.2 % over the last 5 minutes; about 40 conversions lost so far."
OTHERS = ("Purchase rate of device mobile fell.", "Purchase rate of channel paid fell.")


@pytest.mark.parametrize(
    ("status", "severity", "sentences", "title"),
    [
        ("firing", "critical", (SENTENCE,), f"Act now: {SENTENCE}"),
        ("firing", "warning", (SENTENCE,), SENTENCE),
        ("firing", "warning", (SENTENCE, *OTHERS), f"{SENTENCE} (and 2 more)"),
        ("firing", "warning", (SENTENCE, OTHERS[0], SENTENCE), f"{SENTENCE} (and 1 more)"),
        ("resolved", "critical", (SENTENCE, SENTENCE), f"Over: {SENTENCE}"),
        ("resolved", "critical", (SENTENCE,), f"Over: {SENTENCE}"),
    ],
)
def test_title_is_the_sentence(
    status: str, severity: str, sentences: tuple[str, ...], title: str, tmp_path: Path
) -> None:
    assert rendered("conversion.title", message(status, severity, sentences), tmp_path) == title


def test_text_says_since_when_and_what_to_do(tmp_path: Path) -> None:
    assert rendered("conversion.text", message(), tmp_path) == (
        f"{SENTENCE} Fewer visitors than expected convert. Since 1 October 14:07 UTC. "
        "What to do: deploy/RUNBOOK.md#conversionratedrop"
    )
    assert rendered("conversion.text", message("resolved"), tmp_path) == (
        f"It is over since 14:52 UTC, after 45 minutes: {SENTENCE}"
    )


def test_text_says_the_same_sentence_once_and_firing_before_resolved(tmp_path: Path) -> None:
    data = message("firing", "critical", (SENTENCE, SENTENCE, OTHERS[0]))
    data["alerts"] += [alert_of("resolved", "warning", sentence) for sentence in (SENTENCE, *OTHERS)]  # type: ignore[operator]
    lines = rendered("conversion.text", data, tmp_path).splitlines()
    assert [line.split(".")[0] for line in lines[:2]] == [
        text.split(".")[0] for text in (SENTENCE, OTHERS[0])
    ]
    assert lines[2:] == [f"It is over since 14:52 UTC, after 45 minutes: {OTHERS[1]}"]


def test_mail_escapes_what_comes_from_events(tmp_path: Path) -> None:
    data = message()
    data["alerts"][0]["annotations"]["summary"] = "Rate of brand <script>x</script> fell."  # type: ignore[index]
    html = rendered("conversion.html", data, tmp_path, "html")
    assert "&lt;script&gt;" in html
    assert "<script>" not in html


@pytest.mark.parametrize(
    ("status", "severity", "color"),
    [
        ("firing", "critical", "danger"),
        ("firing", "warning", "warning"),
        ("firing", "info", "#439FE0"),
        ("resolved", "critical", "good"),
    ],
)
def test_color_says_how_bad_it_is(status: str, severity: str, color: str, tmp_path: Path) -> None:
    assert rendered("conversion.color", message(status, severity), tmp_path) == color
