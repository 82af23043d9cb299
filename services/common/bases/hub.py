"""``hf://`` sources: repositories of a model hub, through ``huggingface_hub`` and its cache.

The hub is the one that the environment variable HF_ENDPOINT names, else huggingface.co; HF_TOKEN opens private
repositories. Only what a base consists of is downloaded, never pickle. Code that a configuration names is downloaded
because it is part of the fingerprint; it is never run.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.errors import HTTPError as TransportError  # type: ignore[attr-defined]  # httpx's or httpx2's
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented there, not in __all__

from services.common.errors import DomainError, Reason

SMALL_FILES: Final = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "chat_template.jinja",
    "chat_template.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "adapter_config.json",  # so that an adapter in the repository is refused as it is in a directory
    "model.safetensors.index.json",
)
"""What is downloaded beside the weights."""

PATTERNS: Final = (*SMALL_FILES, "*.py", "additional_chat_templates/*.jinja")

SINGLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"

_MAX_INDEX_BYTES: Final = 64 * 1024 * 1024
_SHARD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_REVISION: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,126}[A-Za-z0-9._-])?")
_PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository and a revision of it: branch, tag or commit."""

    repository: str
    revision: str

    def __str__(self) -> str:
        """The URI."""
        return f"hf://{self.repository}@{self.revision}"


def parse(uri: str) -> HubSource:
    """Read ``hf://repository[@revision]``; without a revision it is ``main``.

    Raises:
        DomainError: BASE_SOURCE_INVALID.
    """
    repository, at, revision = uri.removeprefix("hf://").partition("@")
    revision = revision if at else "main"
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise _invalid(uri, str(error)) from None
    if not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision:
        raise _invalid(uri, f"{revision!r} is no branch, tag or commit")
    return HubSource(repository, revision)


def pin(source: HubSource) -> str:
    """Return the source at the commit that its revision means now.

    Raises:
        DomainError: BASE_SOURCE_UNAVAILABLE if the hub does not answer or has no such repository or revision.
    """
    with _translated(source):
        sha = _api().model_info(source.repository, revision=source.revision).sha
    if sha is None or not _COMMIT.fullmatch(sha):
        raise _unavailable(source, "the hub names no commit for it")
    return str(HubSource(source.repository, sha))


def fetch(source: HubSource, cache_dir: Path) -> Path:
    """Download what is not in the cache yet and return the snapshot's directory.

    A commit that is in the cache needs no network.

    Raises:
        DomainError: BASE_SOURCE_UNAVAILABLE; BASE_NOT_A_MODEL, BASE_UNSAFE_FILES or BASE_FILES_INCONSISTENT if the
            repository holds no base that may be loaded.
    """
    directory = _download(source, cache_dir, PATTERNS)
    shards = _shards(directory / INDEX, source)
    directory = _download(source, cache_dir, [*PATTERNS, SINGLE, *shards])
    for required in ("config.json", *(shards or [SINGLE])):
        if not (directory / required).is_file():
            raise _missing(source, required)
    return directory


def _download(source: HubSource, cache_dir: Path, names: Sequence[str]) -> Path:
    with _translated(source):
        path = snapshot_download(
            source.repository,
            revision=source.revision,
            cache_dir=cache_dir,
            allow_patterns=list(names),
            ignore_patterns="*/*.py",  # a star crosses slashes; code lies beside config.json
            endpoint=_endpoint(),
            library_name="tenon",
        )
    return Path(path)


def _shards(index: Path, source: HubSource) -> list[str]:
    """Names of the files of a sharded checkpoint, or nothing if it is not sharded."""
    if not index.is_file():
        return []
    names = _names_in(index)
    if not names or not all(_SHARD.fullmatch(str(name)) for name in names):
        raise DomainError(
            Reason.BASE_FILES_INCONSISTENT,
            f"{INDEX} of {source} does not map tensors to plain names of .safetensors files.",
            {"source": str(source)},
        )
    return sorted(names)


def _names_in(index: Path) -> set[str]:
    if index.stat().st_size > _MAX_INDEX_BYTES:
        return set()
    try:
        return set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()


def _missing(source: HubSource, required: str) -> DomainError:
    with _translated(source):
        listed = _api().list_repo_files(source.repository, revision=source.revision)
    pickles = sorted(name for name in listed if name.endswith(_PICKLES))
    if required != "config.json" and pickles:
        return DomainError(
            Reason.BASE_UNSAFE_FILES,
            f"{source} has its weights only as pickle ({pickles[0]}), which runs code when it is read. "
            "Convert them to safetensors, or ask the repository's owner to.",
            {"source": str(source), "file": pickles[0]},
        )
    return DomainError(
        Reason.BASE_NOT_A_MODEL,
        f"{source} is no base model: it has no {required}.",
        {"source": str(source), "missing": required},
    )


def _api() -> HfApi:
    return HfApi(endpoint=_endpoint(), library_name="tenon")


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


@contextmanager
def _translated(source: HubSource) -> Iterator[None]:
    """Turn what the hub's client raises into BASE_SOURCE_UNAVAILABLE; most specific first."""
    try:
        yield
    except GatedRepoError:
        raise _unavailable(source, "the hub gives it only to accounts it was granted to; set HF_TOKEN") from None
    except RepositoryNotFoundError:
        raise _unavailable(source, "the hub has no such repository, or it is private and HF_TOKEN is not set") from None
    except RevisionNotFoundError:
        raise _unavailable(source, "the repository has no such branch, tag or commit") from None
    except HfHubHTTPError as error:
        raise _unavailable(source, f"the hub answered {error.response.status_code}") from None
    except LocalEntryNotFoundError:
        raise _unavailable(source, "the hub cannot be reached and the cache does not hold all of its files") from None
    except TransportError as error:
        raise _unavailable(source, f"the hub cannot be reached ({type(error).__name__})") from None
    except OSError as error:  # a full disk; a download that ended early
        raise _unavailable(source, f"downloading it failed: {error}") from None


def _unavailable(source: HubSource, why: str) -> DomainError:
    text = f"{source} cannot be had from {_endpoint() or ENDPOINT}: {why}."
    return DomainError(Reason.BASE_SOURCE_UNAVAILABLE, text, {"source": str(source)})


def _invalid(uri: str, why: str) -> DomainError:
    return DomainError(Reason.BASE_SOURCE_INVALID, f"The source {uri!r} is malformed: {why}.", {"source": uri})
