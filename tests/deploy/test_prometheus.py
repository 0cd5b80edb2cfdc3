"""deploy/prometheus under promtool, and whether its tests notice when a number in a rule is moved."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.tools import DEPLOY, RULES, run, said

pytestmark = pytest.mark.deploy
HERE = DEPLOY / "prometheus"
RULE_TESTS = sorted((HERE / "tests").glob("*.test.yml"))

#: A number after a comparison, a `for:`, and the spans that decide how long something is remembered.
PINNED = re.compile(
    r"(?P<before>(?:>=?|==|!=) )(?P<number>\d+(?:\.\d+)?)\b|(?P<for>^ +for: )(?P<wait>\d+)m$", re.MULTILINE
)


def test_config_is_accepted() -> None:
    done = run("promtool", "check", "config", HERE / "prometheus.yml")
    assert done.returncode == 0, said(done)


def test_rules_have_no_finding() -> None:
    done = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", *RULES)
    assert done.returncode == 0, said(done)


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.name)
def test_rules_do_what_their_tests_say(path: Path) -> None:
    done = run("promtool", "test", "rules", path)
    assert done.returncode == 0, said(done)


def test_every_alert_has_a_promtool_test_on_both_sides() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in RULE_TESTS)
    quiet = set(re.findall(r"alertname: (\w+), exp_alerts: \[\]|alertname: (\w+)\n +exp_alerts: \[\]", text))
    loud = set(re.findall(r"alertname: (\w+)\n +exp_alerts:(?: &\w+)?\n", text))
    names = {
        name for path in RULES for name in re.findall(r"- alert: (\w+)", path.read_text(encoding="utf-8"))
    }
    assert {one or other for one, other in quiet} >= names
    assert loud >= names


def moved() -> Iterator[tuple[str, Path, str]]:
    """Each threshold and each `for:` moved a little up and down: (what, file, its new text)."""
    for path in RULES:
        text = path.read_text(encoding="utf-8")
        code = re.sub(r"#.*|\{\{.*?\}\}", lambda found: " " * len(found.group()), text)
        for found in PINNED.finditer(code):
            if found["for"]:
                wait = int(found["wait"])
                others = [f"{found['for']}{wait + 1}m", f"{found['for']}{wait - 1}m"]
            elif found["number"] in ("0", "1"):  # flags and zeros: the other one
                others = [f"{found['before']}{1 - int(found['number'])}"]
            else:
                others = [f"{found['before']}{float(found['number']) * factor:g}" for factor in (1.02, 0.98)]
            for other in others:
                line = text.count("\n", 0, found.start()) + 1
                yield (
                    f"{path.stem}:{line} {other.strip()}",
                    path,
                    text[: found.start()] + other + text[found.end() :],
                )


@pytest.mark.parametrize(("what", "path", "text"), [pytest.param(*m, id=m[0]) for m in moved()])
def test_moving_a_threshold_or_a_for_breaks_a_test(what: str, path: Path, text: str, tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    shutil.copytree(HERE / "tests", tmp_path / "tests")
    (tmp_path / "rules" / path.name).write_text(text, encoding="utf-8")
    done = run("promtool", "test", "rules", tmp_path / "tests" / f"{path.stem}.test.yml")
    assert done.returncode != 0, f"{what}: no test noticed"
    assert "FAILED" in said(done)
