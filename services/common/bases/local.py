"""``file://`` sources: directories of this machine, under configured roots only."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from services.common.errors import DomainError, Reason


def parse(uri: str) -> Path:
    """Read ``file:///absolute/directory``, percent-encoded as RFC 8089 says.

    Raises:
        DomainError: BASE_SOURCE_INVALID.
    """
    parts = urlsplit(uri)
    if parts.netloc not in {"", "localhost"}:
        raise _invalid(uri, f"names the host {parts.netloc!r}; a path needs three slashes: file:///{parts.netloc}…")
    if parts.query or parts.fragment or uri.endswith(("?", "#")):
        raise _invalid(uri, "has a '?' or '#'; in a path these are written %3F and %23")
    try:
        path = unquote(parts.path, errors="strict")
    except UnicodeDecodeError:
        raise _invalid(uri, "is not UTF-8 once its percent-escapes are decoded") from None
    if not path.startswith("/") or "\0" in path:
        raise _invalid(uri, "is not an absolute path")
    return Path(path)


def pin(path: Path) -> str:
    """Return the ``file://`` URI of an existing directory, its symbolic links resolved.

    Raises:
        DomainError: BASE_SOURCE_UNAVAILABLE if there is no such directory.
    """
    resolved = _resolve(path)
    _require_directory(resolved)
    return resolved.as_uri()


def locate(path: Path, roots: Sequence[Path]) -> Path:
    """Return the directory behind a source, its links resolved, if it lies under one of the roots.

    Raises:
        DomainError: BASE_SOURCE_INVALID outside the roots (whether it exists or not is not told),
            BASE_SOURCE_UNAVAILABLE if it is not there.
    """
    resolved = _resolve(path)
    if not any(resolved.is_relative_to(_resolve(root)) for root in roots):
        allowed = ", ".join(str(root) for root in roots) or "none so far"
        raise _invalid(
            path.as_uri(),
            f"lies outside the directories that base models may come from ({allowed}); "
            "move it below one of them, or add its directory to TENON_BASE_ROOTS",
        )
    _require_directory(resolved)
    return resolved


def _resolve(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a name too long; a NUL byte
        raise DomainError(
            Reason.BASE_SOURCE_INVALID, f"The path {str(path)!r} cannot be resolved: {error}.", {"source": str(path)}
        ) from None


def _require_directory(path: Path) -> None:
    if not path.is_dir():
        what = "is a file, not a directory" if path.exists() else "does not exist"
        raise DomainError(
            Reason.BASE_SOURCE_UNAVAILABLE,
            f"The base model's directory {str(path)!r} {what}. Give the directory that holds its config.json.",
            {"source": path.as_uri()},
        )


def _invalid(uri: str, why: str) -> DomainError:
    return DomainError(Reason.BASE_SOURCE_INVALID, f"The source {uri!r} {why}.", {"source": uri})
