"""The files of the live page, read once from the package into memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

#: Files of the live page by ending; others in the folder are not served.
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file as it is sent.

    Attributes:
        body: The bytes.
        content_type: Value of the header.
        etag: Changes with the bytes; a browser that has it is told so.
    """

    body: bytes
    content_type: str
    etag: str


def load_page_files() -> dict[str, PageFile]:
    """File name to file."""
    loaded = {}
    for entry in files("monitor.live").joinpath("static").iterdir():
        content_type = _TYPES.get(entry.name.rpartition(".")[2])
        if content_type is not None:
            body = entry.read_bytes()
            loaded[entry.name] = PageFile(body, content_type, f'"{hashlib.sha256(body).hexdigest()[:20]}"')
    return loaded
