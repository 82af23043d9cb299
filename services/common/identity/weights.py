"""One open safetensors file: its header, and its bytes for hashing and loading."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.common.errors import DomainError, Reason
from services.common.identity.canonical import sha256_hex
from services.common.identity.files import FileIdentity, OpenFile
from services.common.identity.safetensors_header import PREFIX_BYTES, TensorEntry, header_length, parse_header

__all__ = ["StoredTensor", "WeightsFile"]

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
        """Fill the buffer, which is not empty, from ``offset`` as far as one read reaches; answers the bytes read.

        Raises:
            DomainError: SAFETENSORS_INVALID where the file ends there, BASE_NOT_A_MODEL where it cannot be read.
        """
        # Reads, not a mapping: a file truncated under a mapping kills the process with SIGBUS, and the pages that are read
        # through one count as the process's memory.
        count = self._file.read_into(buffer, offset)
        if count == 0:
            raise DomainError(
                Reason.SAFETENSORS_INVALID,
                f"{self.name} ended at byte {offset} while it was read. Download or write the file again.",
                {"file": self.name},
            )
        return count

    def tensors(self) -> Iterator["StoredTensor"]:
        """Every tensor, to be read while the file is open."""
        for entry in self.entries:
            yield StoredTensor(entry, self)

    def check_unchanged(self) -> None:
        """Hold the file against its identity at opening.

        Raises:
            DomainError: BASE_FILES_INCONSISTENT where it was written since.
        """
        self._file.check_unchanged()

    def close(self) -> None:
        """Close the file; its tensors cannot be read any more."""
        self._file.close()


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of an open file.

    Attributes:
        entry: name, dtype, shape and place.
        file: that holds it.
    """

    entry: TensorEntry
    file: WeightsFile

    @property
    def nbytes(self) -> int:
        """Bytes it takes in the file."""
        return self.entry.end - self.entry.begin

    def read_into(self, buffer: memoryview) -> None:
        """Fill a buffer of ``nbytes`` bytes; callable from several threads at once.

        Raises:
            DomainError: as for ``WeightsFile.read_into``.
        """
        done = 0
        while done < self.nbytes:
            done += self.file.read_into(buffer[done:], self.entry.begin + done)
