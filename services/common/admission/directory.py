"""An adapter's directory as data: what may lie there, opened once and never unpickled."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from services.common.admission.model import MAX_CONFIG_BYTES
from services.common.admission.plan import BLOCK_BYTES
from services.common.admission.refusals import CONFIG_FILE, WEIGHTS_FILE, some
from services.common.errors import DomainError, Reason
from services.common.identity.base_directory import CONFIG as BASE_CONFIG
from services.common.identity.base_directory import PICKLE_SUFFIXES, TRAINING_STATE
from services.common.identity.files import FileIdentity, OpenFile
from services.common.manifest import MAX_MANIFEST_BYTES
from services.common.signing import MAX_ENVELOPE_BYTES

__all__ = [
    "CHAT_TEMPLATE_FILE",
    "CONFIG_FILE",
    "ENVELOPE_FILE",
    "MANIFEST_FILE",
    "MAX_FILE_BYTES",
    "WEIGHTS_FILE",
    "AdapterFile",
    "open_file",
    "read_file",
    "refuse_unsafe",
    "require_adapter",
]

MANIFEST_FILE: Final = "tenon.manifest.json"
ENVELOPE_FILE: Final = "tenon.manifest.dsse.json"
CHAT_TEMPLATE_FILE: Final = "chat_template.jinja"
"""The template that an adapter was trained with, as trainers save it beside their tokenizer."""

SIGNS: Final = frozenset({CONFIG_FILE, WEIGHTS_FILE, MANIFEST_FILE, "adapter_model.bin"})
"""Any of these, and somebody meant the directory to be an adapter."""
MAX_FILE_BYTES: Final = 64 * 1024**3
LIMITS: Final = {
    CONFIG_FILE: MAX_CONFIG_BYTES,
    MANIFEST_FILE: MAX_MANIFEST_BYTES,
    ENVELOPE_FILE: MAX_ENVELOPE_BYTES,
    CHAT_TEMPLATE_FILE: MAX_MANIFEST_BYTES // 2,
}
MAX_NAMES: Final = 4096


class AdapterFile:
    """An open file of an adapter, read by ranges; a context manager that closes it."""

    def __init__(self, file: OpenFile) -> None:
        """Use ``open_file`` instead."""
        self._file = file

    @property
    def size(self) -> int:
        """Bytes, when it was opened."""
        return self._file.identity.size

    def __getitem__(self, part: slice) -> bytes:
        """The bytes of a range that lies within the file.

        Raises:
            DomainError: ARTIFACT_CORRUPT where the file has become shorter, ADAPTER_FILES_MISSING where it cannot be read.
        """
        begin, end, _ = part.indices(self.size)
        with _translated():
            data = self._file.read(begin, end - begin)
        if len(data) != end - begin:
            raise self._changed()
        return data

    def sha256(self) -> str:
        """The digest of its bytes; errors as of ``[]``."""
        hasher = hashlib.sha256()
        for begin in range(0, self.size, BLOCK_BYTES):
            hasher.update(self[begin : begin + BLOCK_BYTES])
        return hasher.hexdigest()

    def check_unchanged(self) -> None:
        """Make sure that all which was read belongs together.

        Raises:
            DomainError: ARTIFACT_CORRUPT where the file was written meanwhile.
        """
        if FileIdentity.of(self._file.fileno()) != self._file.identity:
            raise self._changed()

    def _changed(self) -> DomainError:
        return DomainError(
            Reason.ARTIFACT_CORRUPT,
            f"{self._file.path} was changed while it was read. Let the writer finish, then try again.",
            {"file": self._file.name},
        )

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()


def require_adapter(directory: Path) -> None:
    """Make sure that an adapter was meant to be here at all.

    Raises:
        DomainError: ADAPTER_FILES_MISSING where nothing of one is there, or the directory cannot be listed.
    """
    names = _names(directory)
    if SIGNS.isdisjoint(names):
        looks = f", and looks like a base model: it has {BASE_CONFIG}" if BASE_CONFIG in names else ""
        raise DomainError(
            Reason.ADAPTER_FILES_MISSING,
            f"{directory} is no adapter: it has none of {CONFIG_FILE}, {WEIGHTS_FILE} and {MANIFEST_FILE}{looks}. Give "
            "the directory that PEFT saved the adapter to.",
            {"missing": "2"},
        )


def refuse_unsafe(directory: Path) -> None:
    """Refuse weights that PEFT would unpickle, beside or in place of safetensors.

    Raises:
        DomainError: ADAPTER_UNSAFE_FILES; ADAPTER_FILES_MISSING where the directory cannot be listed; LIMIT_EXCEEDED.
    """
    pickles = [
        name
        for name in _names(directory)
        if name.lower().endswith(PICKLE_SUFFIXES) and not TRAINING_STATE.fullmatch(name)
    ]
    if pickles:
        raise DomainError(
            Reason.ADAPTER_UNSAFE_FILES,
            f"{directory} holds {some(pickles)}: pickles, which can run code when they are loaded. Convert them to "
            "safetensors where you trust them, and remove them.",
            {"file": some(pickles[:1])},
        )


def open_file(directory: Path, name: str) -> AdapterFile:
    """Open a file of an adapter.

    Args:
        directory: of the adapter.
        name: of the file; a plain name.

    Raises:
        DomainError: ADAPTER_FILES_MISSING where it is not there or unreadable, ADAPTER_UNSAFE_FILES where it is no regular
            file or a link that leads out of the directory, LIMIT_EXCEEDED.
    """
    path = directory / name
    _check_regular(directory, path)
    with _translated():
        file = OpenFile(path)
    limit = LIMITS.get(name, MAX_FILE_BYTES)
    if file.identity.size > limit:
        file.close()
        raise DomainError(Reason.LIMIT_EXCEEDED, f"{path} has {file.identity.size} bytes; at most {limit} are read.")
    return AdapterFile(file)


def read_file(directory: Path, name: str) -> bytes | None:
    """The whole of one of the small files; None where there is none of that name.

    Raises:
        DomainError: as of ``open_file``.
    """
    if not os.path.lexists(directory / name):
        return None
    with open_file(directory, name) as file:
        return file[: file.size]


def _names(directory: Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry, _ in zip(entries, range(MAX_NAMES + 1), strict=False))
    except OSError as error:
        raise DomainError(
            Reason.ADAPTER_FILES_MISSING,
            f"{directory} cannot be listed: {error.strerror}. Give the directory that PEFT saved the adapter to.",
            {"missing": "1"},
        ) from None
    if len(names) > MAX_NAMES:
        raise DomainError(
            Reason.LIMIT_EXCEEDED, f"{directory} holds more than {MAX_NAMES} files. Keep the adapter by itself."
        )
    return names


def _check_regular(directory: Path, path: Path) -> None:
    """Told by the kernel's word on the path; whatever is there by then, opening it cannot hang."""
    try:
        mode = path.stat().st_mode
        inside = any(path.resolve().is_relative_to(place) for place in _reach(directory.resolve()))
    except (OSError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is a link to itself"
        raise DomainError(
            Reason.ADAPTER_FILES_MISSING,
            f"{path} cannot be read: {why}. Give the directory that PEFT saved the adapter to.",
            {"missing": "1"},
        ) from None
    if not stat.S_ISREG(mode) or not inside:
        fault = "is a link that leads out of the adapter's directory" if not inside else "is not a regular file"
        raise DomainError(
            Reason.ADAPTER_UNSAFE_FILES, f"{path} {fault}. Put the file itself there.", {"file": path.name}
        )


def _reach(directory: Path) -> Iterator[Path]:
    """Where links may lead: the directory, and in the hub's cache, whose files are all links, the blobs of the repository."""
    yield directory
    if directory.parent.name == "snapshots":
        yield directory.parents[1] / "blobs"


@contextmanager
def _translated() -> Iterator[None]:
    """What a base's file says of itself, said of an adapter's."""
    try:
        yield
    except DomainError as error:
        raise DomainError(Reason.ADAPTER_FILES_MISSING, error.message, {"missing": "1"}) from None
