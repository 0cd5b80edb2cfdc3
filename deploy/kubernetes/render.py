"""Renders the chart's defaults as plain manifests: `python deploy/kubernetes/render.py [--check]`.

Needs `pip install helm-python-sdk`; `helm template` gives the same documents. `conversion-monitor.yaml` needs
nothing but Kubernetes, `monitoring.yaml` needs the Prometheus operator. `--check` changes nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import helm_python

HERE = Path(__file__).parent
CHART = HERE.parent / "helm" / "conversion-monitor"
NAME = "conversion-monitor"
MONITORING = ("servicemonitor.yaml", "prometheusrule.yaml")


def manifests() -> dict[str, str]:
    """File name → text."""
    values = {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}
    rendered = helm_python.Chart.load(CHART).render(values, name=NAME, namespace=NAME)
    texts: dict[str, list[str]] = {"conversion-monitor.yaml": [], "monitoring.yaml": []}
    for path, text in sorted(rendered.items()):
        name = Path(path).name
        if text.strip() and name != "NOTES.txt":
            plain = text.strip().replace("managed-by: Helm", "managed-by: kubectl")
            texts["monitoring.yaml" if name in MONITORING else "conversion-monitor.yaml"].append(plain)
    head = "# Made by deploy/kubernetes/render.py from the Helm chart: change that, not this.\n"
    return {name: head + "\n---\n".join(parts) + "\n" for name, parts in texts.items()}


def main(arguments: list[str]) -> int:
    """Writes the files, or with `--check` says which are not up to date."""
    stale = []
    for name, text in manifests().items():
        path = HERE / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in arguments:
                path.write_text(text, encoding="utf-8")
    if "--check" in arguments and stale:
        print(f"not up to date: {', '.join(stale)}; run python deploy/kubernetes/render.py")
        return 1
    print("up to date" if "--check" in arguments else f"{len(stale)} files written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
