"""Where the real tools are, and the files they are to prove."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.conftest import PROJECT, leave_out

DEPLOY = PROJECT / "deploy"
RUNBOOK = DEPLOY / "RUNBOOK.md"
RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
#: The environment that tests/deploy/setup.sh makes.
TOOLS = Path(os.environ.get("DEPLOY_TOOLS", PROJECT / "build" / "deploy-tools"))


def tool(name: str) -> str:
    """Path of a tool: from the environment of setup.sh, else from PATH; else the test is left out."""
    own = TOOLS / "bin" / name
    found = str(own) if own.exists() else shutil.which(name)
    if found is None:
        leave_out(f"{name} is missing: run tests/deploy/setup.sh")
    return found


def run(
    name: str, *arguments: object, given: str | None = None, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Runs a tool to its end; the caller judges its exit code."""
    command = [tool(name), *map(str, arguments)]
    return subprocess.run(
        command, input=given, capture_output=True, text=True, check=False, timeout=120, **more
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    """All that a tool printed, for assertions."""
    return f"exit {done.returncode}\n{done.stdout}{done.stderr}"


def in_tools(code: str, *arguments: object) -> Any:
    """Runs Python in the tools' environment; what the code assigns to `answer` comes back."""
    script = f"import json, sys\narguments = json.loads(sys.argv[1])\n{code}\nprint(json.dumps(answer))"
    if not (TOOLS / "bin" / "python").exists():
        leave_out("the tools' Python environment is missing: run tests/deploy/setup.sh")
    done = run("python", "-c", script, json.dumps(arguments, default=str))
    assert done.returncode == 0, said(done)
    return json.loads(done.stdout.splitlines()[-1])


def read_yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def read_yamls(text: str) -> list[Any]:
    return [document for document in YAML(typ="safe").load_all(text) if document]


def write_yaml(path: Path, data: Any) -> Path:
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(data, file)
    return path


def rules(path: Path) -> Iterator[dict[str, Any]]:
    """The rules of a file, alerts and records."""
    for group in read_yaml(path)["groups"]:
        yield from group["rules"]


def alerts() -> list[dict[str, Any]]:
    """All alert rules."""
    return [rule for path in RULES for rule in rules(path) if "alert" in rule]


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The panels of a dashboard that show something (no rows)."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panels({"panels": panel.get("panels", [])})
        else:
            yield panel


def headings(text: str) -> set[str]:
    """Anchors of the headings of a Markdown text, as they are linked."""
    found = re.findall(r"^#{1,6} +(.+?) *$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}
