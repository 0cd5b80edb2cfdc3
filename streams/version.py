"""Which release this is."""

from __future__ import annotations

import platform
from importlib import metadata


def version() -> str:
    """Version of the installed package."""
    return metadata.version("conversion-monitor")


def build_labels() -> dict[str, str]:
    """Labels of `conversion_build_info`."""
    return {"version": version(), "python": platform.python_version()}
