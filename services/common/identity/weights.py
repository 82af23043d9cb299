"""One open safetensors file: its header, its bytes for hashing, its mapping for loading."""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from services.common.errors import DomainError, Reason
from services.common.identity.canonical import sha256_hex
from services.common.identity.files import FileIdentity, OpenFile
from services.common.identity.safetensors_header import PREFIX_BYTES, TensorEntry, header_length, parse_header

__all__ = ["WeightsFile"]

PICKLE_MAGIC: Final = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How torch.save's archives and bare pickles begin."""


class WeightsFile:
    """A safetensors file, opened once and read strictly."""

    def __init__(self, path: Path) -> None:
        """Open the file and read its header.

        Raises:
            DomainError: BASE_NOT_A_MODEL where it cannot be read, BASE_UNSAFE_FILES where it is a pickle,
                SAFETENSORS_INVALID or LIMIT_EXCEEDED for its header.
        """
        self._file = OpenFile(path)
        self._mapping: mmap.mmap | None = None
        try:
            self.header_digest, self.entries = self._read_header()
        except DomainError:
            self._file.close()
            raise

    @property
    def name(self) -> str:
        """The file's name without its directory."""
        return self._file.name

    @property
    def identity(self) -> FileIdentity:
        """As it was when opened."""
        return self._file.identity

    def _read_header(self) -> tuple[str, tuple[TensorEntry, ...]]:
        size = self._file.identity.size
        prefix = self._file.read(0, PREFIX_BYTES)
        if prefix.startswith(PICKLE_MAGIC) and int.from_bytes(prefix, "little") > size:
            raise DomainError(
                Reason.BASE_UNSAFE_FILES,
                f"{self.name} is a pickle with the name of a safetensors file; pickles can run code and are never "
                "loaded. Convert the weights to safetensors.",
                {"file": self.name},
            )
        header = self._file.read(PREFIX_BYTES, header_length(prefix, file_size=size, what=self.name))
        return sha256_hex(prefix + header), parse_header(header, file_size=size, what=self.name)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill the buffer from ``offset`` as far as one read reaches; answers the bytes read, 0 at the end."""
        return self._file.read_into(buffer, offset)

    def tensors(self) -> Iterator[tuple[TensorEntry, memoryview]]:
        """Every tensor with its bytes in the mapping, which stays valid until the last view of it is dropped."""
        if self._mapping is None:
            self._mapping = mmap.mmap(self._file.fileno(), self._file.identity.size, access=mmap.ACCESS_READ)
        view = memoryview(self._mapping)
        for entry in self.entries:
            yield entry, view[entry.begin : entry.end]

    def check_unchanged(self) -> None:
        """Hold the file against its identity at opening.

        Raises:
            DomainError: BASE_FILES_INCONSISTENT where it was written since.
        """
        self._file.check_unchanged()

    def close(self) -> None:
        """Close the file. Views handed out keep the mapping alive."""
        self._mapping = None
        self._file.close()
