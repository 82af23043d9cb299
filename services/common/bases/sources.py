"""Where a base model's files come from: ``hf://repo@commit`` or ``file:///absolute/directory``.

``pin_source`` makes of what a person types the URI that is registered; ``fetch_base`` makes of registered URIs a local
directory. Neither says that the files are the right ones: whoever loads them recomputes the fingerprint.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from services.common.bases import hub, local
from services.common.errors import DomainError, Reason

T = TypeVar("T")


def pin_source(uri: str) -> str:
    """Make a source permanent: a branch becomes its commit, a path becomes an absolute ``file://`` URI.

    Raises:
        DomainError: BASE_SOURCE_INVALID if it is malformed or of an unknown kind, BASE_SOURCE_UNAVAILABLE if the
            directory, the repository or the revision is not there.
    """
    match _scheme(uri):
        case "hf":
            return hub.pin(hub.parse(uri))
        case "file":
            return local.pin(local.parse(uri))
        case "":
            return local.pin(Path(uri).expanduser())
        case scheme:
            raise _unknown(uri, scheme)


def fetch_base(sources: Sequence[str], *, cache_dir: Path, roots: Sequence[Path]) -> Path:
    """Return a directory with a base's files, from the first source that has them. Blocks while it downloads.

    Args:
        sources: URIs, best first.
        cache_dir: below it, ``hub/`` keeps what was downloaded.
        roots: directories below which ``file://`` sources may lie.

    Raises:
        DomainError: BASE_SOURCE_UNAVAILABLE with the reason for each source; or the reason itself where all sources
            fail for the same one (BASE_SOURCE_INVALID, BASE_UNSAFE_FILES …).
    """
    return with_first_source(sources, lambda directory: directory, cache_dir=cache_dir, roots=roots)


def with_first_source(sources: Sequence[str], use: Callable[[Path], T], *, cache_dir: Path, roots: Sequence[Path]) -> T:
    """Return what ``use`` makes of the first source that can be fetched and that it does not refuse.

    Args:
        sources: as for ``fetch_base``, like the other arguments.
        use: opens and checks a directory; its DomainError leads to the next source.
        cache_dir: see ``fetch_base``.
        roots: see ``fetch_base``.

    Raises:
        DomainError: as ``fetch_base``; BASE_FINGERPRINT_MISMATCH where ``use`` found that in any source.
    """
    failures: dict[str, DomainError] = {}
    for uri in sources:
        try:
            return use(_fetch(uri, cache_dir, roots))
        except DomainError as error:
            failures[uri] = error
    raise _none_left(failures)


def _fetch(uri: str, cache_dir: Path, roots: Sequence[Path]) -> Path:
    match _scheme(uri):
        case "hf":
            return hub.fetch(hub.parse(uri), cache_dir / "hub")
        case "file":
            return local.locate(local.parse(uri), roots)
        case scheme:
            raise _unknown(uri, scheme)


def _scheme(uri: str) -> str:
    scheme, separator, _ = uri.partition("://")
    return scheme if separator else ""


def _unknown(uri: str, scheme: str) -> DomainError:
    kind = f"of kind '{scheme}'" if scheme else "without a kind"
    return DomainError(
        Reason.BASE_SOURCE_INVALID,
        f"The source {uri!r} is {kind}, which cannot be read. Use hf://repository@revision or file:///directory.",
        {"source": uri},
    )


def _none_left(failures: dict[str, DomainError]) -> DomainError:
    if not failures:
        return DomainError(Reason.BASE_SOURCE_UNAVAILABLE, "The base model has no sources to fetch it from.")
    if len(failures) == 1:
        uri, error = next(iter(failures.items()))
        return DomainError(error.reason, error.message, {"source": uri, **error.metadata})
    told = " ".join(f"[{uri}] {error.message}" for uri, error in failures.items())
    text = f"None of the base model's {len(failures)} sources can be used. {told}"
    # Other bytes than those registered are what an operator must hear of first.
    mismatch = next((e for e in failures.values() if e.reason is Reason.BASE_FINGERPRINT_MISMATCH), None)
    if mismatch is not None:
        return DomainError(mismatch.reason, text, mismatch.metadata)
    reasons = {error.reason for error in failures.values()}
    return DomainError(reasons.pop() if len(reasons) == 1 else Reason.BASE_SOURCE_UNAVAILABLE, text)
