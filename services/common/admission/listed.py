"""An adapter's files held against the manifest that lists them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from services.common.admission.directory import AdapterFile, open_file
from services.common.admission.header import PREFIX_BYTES, header_range, read_header
from services.common.admission.refusals import CONFIG_FILE, WEIGHTS_FILE
from services.common.errors import DomainError, Reason
from services.common.manifest import AdapterManifest, ManifestFile

__all__ = ["check_agrees", "check_digest", "check_file", "describe", "list_files", "needed_files"]

_SHOWN: Final = 80


def list_files(directory: Path) -> tuple[ManifestFile, ...]:
    """Describe the two files of an adapter; whatever else lies beside them is no part of it.

    Raises:
        DomainError: as of ``open_file``; SAFETENSORS_INVALID, LIMIT_EXCEEDED, ADAPTER_UNSAFE_FILES for the weights.
    """
    with open_file(directory, CONFIG_FILE) as config, open_file(directory, WEIGHTS_FILE) as weights:
        return describe(config[: config.size], weights)


def describe(config: bytes, weights: AdapterFile) -> tuple[ManifestFile, ManifestFile]:
    """Sizes and digests of an adapter's files, of which the weights must have a well-formed header.

    Raises:
        DomainError: SAFETENSORS_INVALID, LIMIT_EXCEEDED, ADAPTER_UNSAFE_FILES; ARTIFACT_CORRUPT where the weights were
            written meanwhile.
    """
    begin, end = header_range(weights[:PREFIX_BYTES], weights.size, what=WEIGHTS_FILE)
    header = weights[begin:end]
    described = ManifestFile(WEIGHTS_FILE, weights.size, weights.sha256(), hashlib.sha256(header).hexdigest())
    read_header(header, file=described)
    weights.check_unchanged()
    return ManifestFile(CONFIG_FILE, len(config), hashlib.sha256(config).hexdigest()), described


def needed_files(manifest: AdapterManifest) -> tuple[ManifestFile, ManifestFile]:
    """The configuration and the weights among a manifest's files.

    Raises:
        DomainError: ADAPTER_FILES_MISSING where the manifest lists none of that name.
    """
    config, weights = manifest.file(CONFIG_FILE), manifest.file(WEIGHTS_FILE)
    if config is None or weights is None:
        raise DomainError(
            Reason.ADAPTER_FILES_MISSING,
            f"The manifest lists no {CONFIG_FILE if config is None else WEIGHTS_FILE}, without which there is no adapter. "
            "Get the adapter again from where it was published.",
            {"missing": "1"},
        )
    return config, weights


def check_digest(data: bytes, file: ManifestFile) -> bytes:
    """Return the bytes if they are those that the manifest names.

    Raises:
        DomainError: ARTIFACT_CORRUPT.
    """
    check_file(file, size=len(data), sha256=hashlib.sha256(data).hexdigest())
    return data


def check_file(file: ManifestFile, *, size: int, sha256: str) -> None:
    """Hold what was found against what the manifest says.

    Raises:
        DomainError: ARTIFACT_CORRUPT.
    """
    if (size, sha256) != (file.size, file.sha256):
        raise DomainError(
            Reason.ARTIFACT_CORRUPT,
            f"{file.path} is not the file that was published: it has {size} bytes with the digest {sha256[:12]}, and the "
            f"manifest says {file.size} with {file.sha256[:12]}. Restore it from a copy, or get the adapter again.",
            {"file": file.path, "expected": file.sha256, "actual": sha256},
        )


def check_agrees(document: Mapping[str, Any], manifest: AdapterManifest) -> None:
    """Hold adapter_config.json against what the manifest repeats of it.

    Args:
        document: ``read_document`` of the configuration.
        manifest: of the adapter.

    Raises:
        DomainError: ADAPTER_CONFIG_MISMATCH.
    """
    for key, stated in manifest.peft.items():
        if document.get(key) != stated:
            raise DomainError(
                Reason.ADAPTER_CONFIG_MISMATCH,
                f"The manifest says that {key[:_SHOWN]} is {repr(stated)[:_SHOWN]}, and {CONFIG_FILE} says "
                f"{repr(document.get(key))[:_SHOWN]}. Get the adapter again from where it was published.",
                {"key": key[:_SHOWN]},
            )
