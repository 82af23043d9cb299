"""The header of an adapter's weights: names, shapes and places of its tensors, from a few kilobytes."""

import hashlib
from typing import Final

from services.common.errors import DomainError, Reason
from services.common.identity import TensorEntry, parse_header
from services.common.identity.safetensors_header import PREFIX_BYTES, header_length
from services.common.identity.weights import PICKLE_MAGIC
from services.common.manifest import ManifestFile

__all__ = ["PREFIX_BYTES", "header_range", "read_header"]

_CORRUPT: Final = "Restore it from a copy, or get the adapter again."


def header_range(prefix: bytes, size: int, *, what: str) -> tuple[int, int]:
    """Where the header's JSON lies.

    Args:
        prefix: the first ``PREFIX_BYTES`` of the file.
        size: of the whole file.
        what: the file's name, for error texts.

    Returns:
        The offsets of its first byte and of the byte after its last.

    Raises:
        DomainError: ADAPTER_UNSAFE_FILES for a pickle, SAFETENSORS_INVALID, LIMIT_EXCEEDED.
    """
    if prefix.startswith(PICKLE_MAGIC) and int.from_bytes(prefix, "little") > size:
        raise DomainError(
            Reason.ADAPTER_UNSAFE_FILES,
            f"{what} is a pickle with the name of a safetensors file; pickles can run code and are never loaded. Convert "
            "the adapter to safetensors where you trust it.",
            {"file": what},
        )
    return PREFIX_BYTES, PREFIX_BYTES + header_length(prefix, file_size=size, what=what)


def read_header(header: bytes, *, file: ManifestFile) -> tuple[TensorEntry, ...]:
    """Read the header's JSON, if it is the one that the manifest names.

    Args:
        header: the bytes of ``header_range``.
        file: as the manifest describes it; without ``header_sha256`` any header is read.

    Raises:
        DomainError: ARTIFACT_CORRUPT where it has another digest, SAFETENSORS_INVALID where it is malformed.
    """
    found = hashlib.sha256(header).hexdigest()
    if file.header_sha256 is not None and found != file.header_sha256:
        raise DomainError(
            Reason.ARTIFACT_CORRUPT,
            f"The header of {file.path} is not the one that was published: it has the digest {found[:12]}, and the "
            f"manifest says {file.header_sha256[:12]}. {_CORRUPT}",
            {"file": file.path, "expected": file.header_sha256, "actual": found},
        )
    return parse_header(header, file_size=file.size, what=file.path)
