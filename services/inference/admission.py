"""How an adapter comes to answer: every check in its order, cheapest first, each with its own reason.

1.  Alias, version: the registry knows the name, the version is READY and not revoked (``registry``).
2.  Manifest: its digest is the version's name, it follows its scheme (``registry``).
3.  Signature: by a key that is trusted now (``policy``).
4.  Provenance: one that this server admits (``policy``).
5.  Base: the fingerprint registered for it is the manifest's (``resolve``), before it is loaded.

Until here for every request; the rest of it once, when the adapter is loaded:

6.  Base: the fingerprint recomputed from the bytes that were loaded is the manifest's.
7.  adapter_config.json: by digest, options that are served, as the manifest says.
8.  Header of the weights, by a range read: by digest, well-formed.
9.  Tensors: every one has its place in the base, every place its tensor, every shape exact.
10. Memory: there is room for it.
11. Weights: downloaded, by digest, with the same header.
12. Values: finite, and not without effect.
13. Attached: applied = total.
14. Probe: base and adapter compute what they computed when training ended; where nobody recorded that, not the same.

A version that fails leaves the engine as it was.
"""

import math
from collections.abc import Awaitable, Callable

import torch

from services.common.admission.base import biased_modules
from services.common.admission.config import MAX_CONFIG_BYTES, AdapterConfig, parse_config, read_document
from services.common.admission.header import PREFIX_BYTES, header_range, read_header
from services.common.admission.listed import check_agrees, needed_files
from services.common.admission.plan import AdapterPlan
from services.common.admission.tensors import plan_adapter
from services.common.admission.values import check_values
from services.common.errors import DomainError, Reason
from services.common.identity import (
    BaseFingerprint,
    FingerprintSummary,
    TensorEntry,
    Verdict,
    compare,
    mismatch_error,
)
from services.common.manifest import AdapterManifest, ManifestFile, Provenance
from services.inference.adapter_files import AdapterFiles
from services.inference.blocking import Blocking
from services.inference.engine.protocol import AdapterWeights, Attached, Engine
from services.inference.model import AdapterVersion, RegisteredBase
from services.inference.policy import AdmissionPolicy
from services.inference.probe import check_effect, check_probe, coarsest
from services.inference.weights import read_weights


class Admission:
    """Admits adapters to one engine."""

    def __init__(
        self,
        engine: Engine,
        base: RegisteredBase,
        fingerprint: BaseFingerprint,
        files: AdapterFiles,
        *,
        policy: AdmissionPolicy,
        blocking: Blocking,
    ) -> None:
        """Admit nothing yet.

        Args:
            engine: where adapters are attached.
            base: of the engine; of what it is derived is known to the registry alone.
            fingerprint: of the same, recomputed from its bytes.
            files: where adapters come from.
            policy: whether a derived base may pass.
            blocking: threads for reading and checking.
        """
        self._engine = engine
        self._base_name = base.name
        self._base = fingerprint.derived(base.fingerprint.derived_from)
        self._files = files
        self._policy = policy
        self._blocking = blocking
        self._biased = biased_modules(fingerprint)

    async def admit(self, version: AdapterVersion, reserve: Callable[[int], Awaitable[None]]) -> Attached:
        """Take every step from the base's fingerprint on; afterwards the engine can answer with the version.

        Args:
            version: which one.
            reserve: makes room for so many bytes, or refuses.

        Raises:
            DomainError: BASE_FINGERPRINT_MISMATCH; ADAPTER_CONFIG_INVALID, ADAPTER_NOT_SUPPORTED,
                ADAPTER_CONFIG_MISMATCH; SAFETENSORS_INVALID, ADAPTER_UNSAFE_FILES; ADAPTER_TENSOR_UNKNOWN,
                ADAPTER_MODULE_NOT_FOUND, ADAPTER_TENSOR_MISSING, ADAPTER_TENSOR_UNEXPECTED, ADAPTER_SHAPE_MISMATCH,
                ADAPTER_DTYPE_NOT_SUPPORTED; ADAPTER_NOT_FINITE, ADAPTER_NO_EFFECT; PROBE_MISMATCH; ARTIFACT_CORRUPT,
                ADAPTER_FILES_MISSING, ARTIFACT_STORE_UNAVAILABLE, LIMIT_EXCEEDED; what ``reserve`` raises.
        """
        verdict = self._check_base(version)
        plan, entries = await self._blocking.run(self._plan, version)
        await reserve(_computed_bytes(plan))
        weights = await self._blocking.run(self._read, version, plan, entries)
        try:
            attached = await self._engine.attach(weights)
            _check_applied(attached, plan.tensor_count)
            await self._check_answers(version, verdict, weights)
        except BaseException:  # cancelled, too: nobody would ever detach it
            await self._engine.detach(weights.digest)
            raise
        return attached

    def _check_base(self, version: AdapterVersion) -> Verdict:
        comparison = compare(trained_on(version.manifest), self._base, policy=self._policy.comparison)
        if not comparison.admissible:
            raise mismatch_error(comparison, expected_name=version.manifest.base_model, actual_name=self._base_name)
        return comparison.verdict

    def _plan(self, version: AdapterVersion) -> tuple[AdapterPlan, tuple[TensorEntry, ...]]:
        """Check all that configuration and header tell."""
        config_file, weights_file = needed_files(version.manifest)
        config = self._read_config(version, config_file)
        entries = self._read_header(version, weights_file)
        return plan_adapter(config, entries, self._base.modules, biased=self._biased), entries

    def _read(self, version: AdapterVersion, plan: AdapterPlan, entries: tuple[TensorEntry, ...]) -> AdapterWeights:
        """Fetch and check the weights."""
        data = self._read_data(version, needed_files(version.manifest)[1], entries)
        check_values(memoryview(data), plan, self._base)
        return read_weights(version.name.version, data, plan)

    def _read_config(self, version: AdapterVersion, file: ManifestFile) -> AdapterConfig:
        if file.size > MAX_CONFIG_BYTES:
            raise DomainError(
                Reason.LIMIT_EXCEEDED,
                f"{file.path} of {version.label} has {file.size} bytes; {MAX_CONFIG_BYTES} are read. Save the adapter again.",
            )
        data = self._files.read(version.name.project, file)
        config = parse_config(data)
        check_agrees(read_document(data), version.manifest)
        return config

    def _read_header(self, version: AdapterVersion, file: ManifestFile) -> tuple[TensorEntry, ...]:
        project = version.name.project
        prefix = self._files.head(project, file, 0, min(PREFIX_BYTES, file.size))
        begin, end = header_range(prefix, file.size, what=file.path)
        return read_header(self._files.head(project, file, begin, end - begin), file=file)

    def _read_data(self, version: AdapterVersion, file: ManifestFile, entries: tuple[TensorEntry, ...]) -> bytes:
        data = self._files.read(version.name.project, file)
        begin, end = header_range(data[:PREFIX_BYTES], file.size, what=file.path)
        # The digest has been checked; so the header is the one that was planned with, if the range was honest.
        if read_header(data[begin:end], file=file) != entries:
            raise DomainError(
                Reason.ARTIFACT_CORRUPT,
                f"The artifact store gave two different headers of {file.path}. Check the store, then try again.",
                {"file": file.path},
            )
        return data

    async def _check_answers(self, version: AdapterVersion, verdict: Verdict, weights: AdapterWeights) -> None:
        """The probe is compulsory, except for what was trained elsewhere and is served on exactly its own base."""
        manifest, base = version.manifest, self._base
        exempt = manifest.provenance is Provenance.DECLARED and verdict is Verdict.EXACT
        if manifest.probe is None and exempt:
            # One that changes the embedding alone may leave the few tokens asked for as they are.
            if not self._changes_embeddings_alone(weights):
                await check_effect(self._engine, version)
            return
        # A derived base may store its weights in a coarser format than the one whose logits were recorded.
        stored = {leaf.dtype for leaf in base.tensors} if verdict is Verdict.DERIVATIVE else set()
        dtype = coarsest(str(self._engine.dtype).removeprefix("torch."), _recorded_in(manifest), *stored)
        await check_probe(self._engine, version, dtype, base_name=self._base_name)

    def _changes_embeddings_alone(self, weights: AdapterWeights) -> bool:
        embeddings = {module.name for module in self._base.modules if module.kind == "Embedding"}
        changed = {layer.module for layer in weights.layers} | {whole.module for whole in weights.replacements}
        return changed <= embeddings


def trained_on(manifest: AdapterManifest) -> FingerprintSummary:
    """The fingerprint of the base that a manifest names.

    Raises:
        DomainError: MANIFEST_INVALID where it contradicts itself.
    """
    try:
        return FingerprintSummary.from_summary(manifest.base)
    except DomainError as error:
        raise DomainError(Reason.MANIFEST_INVALID, f"The manifest cannot be used: {error.message}") from None


def _check_applied(attached: Attached, total: int) -> None:
    if attached.applied_tensors != total:
        raise DomainError(
            Reason.ADAPTER_INVALID,
            f"Only {attached.applied_tensors} of the adapter's {total} tensors found their place in the base. Serve it on "
            "the base it was trained on.",
        )


def _computed_bytes(plan: AdapterPlan) -> int:
    """Memory of an adapter that is computed with in single precision, however it is stored."""
    return sum(torch.float32.itemsize * math.prod(entry.shape) for entry in plan.applied)


def _recorded_in(manifest: AdapterManifest) -> object:
    """The format that the probe was computed in, by name, if the manifest says it."""
    compute = manifest.training.get("compute")
    return compute.get("dtype") if isinstance(compute, dict) else None
