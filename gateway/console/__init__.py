"""The console: pages that browsers run, kept as the files they get, without a build.

Nothing here asks another host for anything, and no data is ever taken for HTML: see ``dom.js``.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Final

ROOT: Final = "/console/"
"""Where the pages are."""

ENTRY: Final = "index.html"

HEADERS: Final = MappingProxyType(
    {
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        "Cross-Origin-Opener-Policy": "same-origin",
        # Kept, and asked for again by its ETag: an upgraded suite never runs half of its old pages.
        "Cache-Control": "no-cache",
    }
)
"""Of every page, script and style."""

_TYPES: Final = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".svg": "image/svg+xml",
    }
)


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is sent."""

    content: bytes
    media_type: str
    etag: str


def is_console(path: str) -> bool:
    """Whether a path of the gateway belongs to the console, which tells nothing of anybody and needs no key."""
    return path in {"/", ROOT.rstrip("/")} or path.startswith(ROOT)


@cache
def static_files() -> Mapping[str, StaticFile]:
    """Every file of the console by its path below `ROOT`; read once, so that no path from outside reaches the disk."""
    return MappingProxyType(dict(_read(resources.files(__name__), "")))


def _read(directory: Traversable, prefix: str) -> list[tuple[str, StaticFile]]:
    found: list[tuple[str, StaticFile]] = []
    for entry in sorted(directory.iterdir(), key=lambda entry: entry.name):
        suffix = entry.name[entry.name.rfind(".") :]
        if entry.is_dir():
            found += _read(entry, f"{prefix}{entry.name}/")
        elif suffix in _TYPES:
            content = entry.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found.append((f"{prefix}{entry.name}", StaticFile(content, _TYPES[suffix], etag)))
    return found
