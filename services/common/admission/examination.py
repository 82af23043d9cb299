"""One adapter's directory held against one base: the steps of admission, cheapest first.

Each step raises the reason it refuses for, and answers a few words on what it found. Later steps build on earlier ones.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from services.common.admission import directory as files
from services.common.admission.base import biased_modules
from services.common.admission.config import AdapterConfig, parse_config, read_document
from services.common.admission.directory import CONFIG_FILE, ENVELOPE_FILE, MANIFEST_FILE, WEIGHTS_FILE, AdapterFile
from services.common.admission.header import PREFIX_BYTES, header_range, read_header
from services.common.admission.listed import check_agrees, check_digest, check_file, describe, needed_files
from services.common.admission.plan import AdapterPlan
from services.common.admission.tensors import plan_adapter
from services.common.admission.values import check_copies, check_effect, check_finite
from services.common.errors import DomainError, Reason
from services.common.identity import (
    BaseFingerprint,
    Comparison,
    FingerprintSummary,
    TensorEntry,
    compare,
    mismatch_error,
)
from services.common.manifest import AdapterManifest, ManifestFile, Provenance
from services.common.signing.trust import Trust

__all__ = ["Examination"]

SHORT: Final = 12


class Examination:
    """What is known of an adapter so far; a context manager that closes its files.

    Attributes:
        manifest: once it was read, if there is one.
        comparison: of the manifest's base with this one, once they were compared.
        document: adapter_config.json, once it was read.
        plan: what every tensor is for, once that is known.
    """

    manifest: AdapterManifest | None = None
    comparison: Comparison | None = None
    signer = ""
    base_id: str | None = None

    def __init__(self, directory: Path, base: BaseFingerprint | Callable[[], BaseFingerprint]) -> None:
        """Open nothing yet.

        Args:
            directory: of the adapter.
            base: the base's fingerprint, or what computes it when it is needed.
        """
        self._directory = directory
        self._base_source = base
        self._open = ExitStack()
        self._manifest_bytes = b""
        self._config_bytes = b""
        self._weights: AdapterFile
        self._fingerprint: BaseFingerprint
        self._config: AdapterConfig
        self._entries: tuple[TensorEntry, ...]
        self.plan: AdapterPlan
        self.document: Mapping[str, Any]

    def files(self) -> str:
        """Nothing unsafe, and the two files that every adapter has."""
        files.refuse_unsafe(self._directory)
        with files.open_file(self._directory, CONFIG_FILE):
            pass
        self._weights = self._open.enter_context(files.open_file(self._directory, WEIGHTS_FILE))
        return f"{self._weights.size} bytes of weights, no pickles"

    def read_manifest(self) -> str:
        """The manifest, canonical and by its scheme."""
        data = files.read_file(self._directory, MANIFEST_FILE)
        if data is None:
            raise DomainError(
                Reason.MANIFEST_MISSING,
                f"{self._directory} has no {MANIFEST_FILE}, so nobody says which base the adapter was trained on. Get its "
                "manifest, make one with `tenon seal` if you know the base, or pass --allow-undeclared to check what can "
                "be checked without.",
            )
        manifest = AdapterManifest.from_bytes(data)
        try:
            FingerprintSummary.from_summary(manifest.base)
        except DomainError:
            raise DomainError(
                Reason.MANIFEST_INVALID,
                "The manifest cannot be used: the base's fingerprint in it does not follow its scheme. Get the adapter "
                "again from where it was published.",
            ) from None
        self.manifest, self._manifest_bytes = manifest, data
        return f"version {manifest.digest[:SHORT]}, {manifest.provenance}"

    def signature(self, trust: Trust) -> str:
        """A signature of the manifest by a key that is trusted."""
        envelope = files.read_file(self._directory, ENVELOPE_FILE)
        self.signer = trust.verify(envelope, self._manifest_bytes)
        return f"by the key {self.signer[:SHORT]}"

    def load_base(self) -> None:
        """Compute the base's fingerprint, unless it was given; errors are the base's own."""
        source = self._base_source
        self._fingerprint = source if isinstance(source, BaseFingerprint) else source()
        self.base_id = self._fingerprint.id

    def base(self, base_name: str) -> str:
        """The base is the one the adapter was trained on."""
        if self.manifest is None:
            return f"compared with nothing: {self._fingerprint.id[:SHORT]}"
        expected = FingerprintSummary.from_summary(self.manifest.base)
        self.comparison = compare(expected, self._fingerprint)
        if not self.comparison.admissible:
            raise mismatch_error(self.comparison, expected_name=self.manifest.base_model, actual_name=base_name)
        return f"{self._fingerprint.architecture} {self._fingerprint.id[:SHORT]}"

    def config(self) -> str:
        """adapter_config.json, unaltered and with options that are served."""
        with files.open_file(self._directory, CONFIG_FILE) as file:
            self._config_bytes = data = file[: file.size]
        if self.manifest is not None:
            check_digest(data, needed_files(self.manifest)[0])
        self.document = read_document(data)
        self._config = parse_config(data)
        if self.manifest is not None:
            check_agrees(self.document, self.manifest)
        return f"LoRA of rank {self._config.r}"

    def header(self) -> str:
        """The header of the weights, unaltered and well-formed."""
        size = self._weights.size
        listed = ManifestFile(WEIGHTS_FILE, size, "") if self.manifest is None else needed_files(self.manifest)[1]
        if size != listed.size:
            check_file(listed, size=size, sha256=self._weights.sha256())
        begin, end = header_range(self._weights[:PREFIX_BYTES], size, what=WEIGHTS_FILE)
        self._entries = read_header(self._weights[begin:end], file=listed)
        return f"{len(self._entries)} tensors"

    def tensors(self) -> str:
        """Every tensor has its place in the base, and every place its tensor."""
        base = self._fingerprint
        self.plan = plan_adapter(self._config, self._entries, base.modules, biased=biased_modules(base))
        replaced = f", {len(self.plan.replacements)} modules replaced" if self.plan.replacements else ""
        return f"{self.plan.tensor_count} tensors for {len(self.plan.layers)} modules{replaced}"

    def digest(self) -> str:
        """Every file that the manifest lists, whole and unaltered."""
        if self.manifest is None:
            return "no manifest to compare with"
        for listed in self.manifest.files:
            if listed.path == WEIGHTS_FILE:
                check_file(listed, size=self._weights.size, sha256=self._weights.sha256())
            elif listed.path != CONFIG_FILE:
                with files.open_file(self._directory, listed.path) as file:
                    check_file(listed, size=file.size, sha256=file.sha256())
        return f"{len(self.manifest.files)} files"

    def values(self) -> str:
        """All numbers are finite."""
        check_finite(self._weights, self.plan)
        check_copies(self._weights, self.plan, self._fingerprint)
        return "all finite"

    def effect(self) -> str:
        """The adapter changes something."""
        check_effect(self._weights, self.plan, self._fingerprint)
        self._weights.check_unchanged()
        return "not zero"

    def probe(self) -> str:
        """The answers recorded at training time are there; comparing them is for whoever loads the base."""
        manifest = self.manifest
        if manifest is not None and manifest.provenance is Provenance.WITNESSED and manifest.probe is None:
            raise DomainError(
                Reason.PROBE_MISMATCH,
                "The manifest says that Tenon trained the adapter, and records no answers to compare with, as every training "
                "does. Get the adapter again from where it was published.",
            )
        return "the base would have to be loaded"

    def describe(self) -> tuple[ManifestFile, ManifestFile]:
        """The files that were examined, as a manifest lists them."""
        return describe(self._config_bytes, self._weights)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close what is open."""
        self._open.close()
