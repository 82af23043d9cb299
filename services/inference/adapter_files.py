"""Files of adapters: from the artifact store, kept on the local disk by their digest."""

import contextlib
import os
from pathlib import Path

from services.common.admission.listed import check_digest
from services.common.artifacts.store import ArtifactStore
from services.common.errors import DomainError, Reason
from services.common.manifest import ManifestFile
from services.inference.metrics import InferenceMetrics


class AdapterFiles:
    """Reads files of adapter versions. Every call blocks; several may be made at once."""

    def __init__(
        self,
        store: ArtifactStore,
        directory: Path,
        metrics: InferenceMetrics,
        *,
        max_file_bytes: int,
        max_total_bytes: int,
    ) -> None:
        """Keep files below a directory.

        Args:
            store: where they come from.
            directory: belongs to this cache alone; several processes may share it.
            metrics: counts what was found on the disk and what was not.
            max_file_bytes: larger files are refused.
            max_total_bytes: beyond that, files that were not used for longest are removed.
        """
        self._store = store
        self._directory = directory
        self._metrics = metrics
        self._max_file_bytes = max_file_bytes
        self._max_total_bytes = max_total_bytes

    def head(self, project: str, file: ManifestFile, offset: int, length: int) -> bytes:
        """Read a range from the store, without fetching the rest.

        Raises:
            DomainError: ADAPTER_FILES_MISSING, ARTIFACT_CORRUPT, LIMIT_EXCEEDED, ARTIFACT_STORE_UNAVAILABLE.
        """
        self._check_size(file)
        try:
            self._check_stored(project, file)
            return b"".join(self._store.read(project, file.sha256, offset=offset, length=length))
        except DomainError as error:
            raise _told(error, file) from None

    def read(self, project: str, file: ManifestFile) -> bytes:
        """Read a whole file and hold it against its digest, also when it was on the disk before.

        Raises:
            DomainError: ADAPTER_FILES_MISSING, ARTIFACT_CORRUPT, LIMIT_EXCEEDED, ARTIFACT_STORE_UNAVAILABLE.
        """
        self._check_size(file)
        path = self._directory / project / file.sha256[:2] / file.sha256
        with contextlib.suppress(OSError, DomainError):  # absent, or damaged on this disk: it is fetched again
            data = check_digest(path.read_bytes(), file)
            os.utime(path)
            return data
        try:
            self._check_stored(project, file)
            self._store.fetch(project, file.sha256, path)
        except DomainError as error:
            raise _told(error, file) from None
        data = _read_back(path, file)
        self._shrink(keep=path)
        return data

    def _check_size(self, file: ManifestFile) -> None:
        if file.size > self._max_file_bytes:
            raise DomainError(
                Reason.LIMIT_EXCEEDED,
                f"{file.path} has {file.size} bytes; {self._max_file_bytes} are served "
                "(TENON_INFERENCE_ADAPTER_FILE_BYTES).",
            )

    def _check_stored(self, project: str, file: ManifestFile) -> None:
        """What has another size has another digest: nothing of it need be read."""
        found = self._store.stat(project, file.sha256).size
        if found != file.size:
            raise DomainError(
                Reason.ARTIFACT_CORRUPT,
                f"The artifact store's copy of {file.path} has {found} bytes, and the manifest says {file.size}. Restore "
                "it from a copy, or train the adapter again.",
                {"file": file.path, "expected": file.sha256},
            )

    def _shrink(self, *, keep: Path) -> None:
        files = []
        for path in self._directory.glob("*/*/*"):
            with contextlib.suppress(OSError):  # another process removed it
                files.append((path.stat(), path))
        total = sum(status.st_size for status, _ in files)
        for status, path in sorted(files, key=lambda item: item[0].st_mtime):
            if total <= self._max_total_bytes:
                return
            if path != keep:
                path.unlink(missing_ok=True)
                total -= status.st_size


def _read_back(path: Path, file: ManifestFile) -> bytes:
    try:
        return check_digest(path.read_bytes(), file)
    except OSError as error:
        raise DomainError(
            Reason.ARTIFACT_STORE_UNAVAILABLE,
            f"The local copy of {file.path} was gone again before it was read: {error.strerror}. Try again.",
            retry_after=1.0,
        ) from None


def _told(error: DomainError, file: ManifestFile) -> DomainError:
    """A file of a READY version that is gone is a fault of the version, not a name that does not exist."""
    if error.reason is not Reason.ARTIFACT_NOT_FOUND:
        return error
    return DomainError(
        Reason.ADAPTER_FILES_MISSING,
        f"The artifact store has lost {file.path} ({file.sha256}) of the adapter. Restore it, or train it again.",
        {"missing": "1"},
    )
