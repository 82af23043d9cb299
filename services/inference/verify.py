"""Whether an adapter's files fit its manifest and its base: pure checks, cheapest first (docs/architecture.md).

Nothing here reads a file or a network; callers bring bytes and pass on what the checks return.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch

from services.common.bases.loader import DTYPES
from services.common.errors import DomainError, Reason
from services.common.identity import LinearModule, TensorEntry, parse_header
from services.common.manifest import AdapterManifest, ManifestFile
from services.inference.adapter_config import AdapterConfig, invalid
from services.inference.engine.lora import HOOKED_KINDS
from services.inference.engine.protocol import LoraLayer

CONFIG_FILE: Final = "adapter_config.json"
WEIGHTS_FILE: Final = "adapter_model.safetensors"
PREFIX_BYTES: Final = 8
MAX_HEADER_BYTES: Final = 16 * 1024 * 1024
WEIGHT_DTYPES: Final = frozenset({"F32", "F16", "BF16"})

_KEY: Final = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight", re.DOTALL)
_SHOWN: Final = 4


@dataclass(frozen=True, slots=True)
class PlannedLayer:
    """One module's pair of tensors, found in a header and fitting the base."""

    module: str
    a: TensorEntry
    b: TensorEntry
    scaling: float


def needed_files(manifest: AdapterManifest) -> tuple[ManifestFile, ManifestFile]:
    """The configuration and the weights among a manifest's files.

    Raises:
        DomainError: ADAPTER_INVALID where the manifest lists none of that name.
    """
    config, weights = manifest.file(CONFIG_FILE), manifest.file(WEIGHTS_FILE)
    if config is None or weights is None:
        raise invalid(f"its manifest lists no {CONFIG_FILE if config is None else WEIGHTS_FILE}")
    return config, weights


def check_digest(data: bytes, file: ManifestFile) -> bytes:
    """Return the bytes if they are those that the manifest names.

    Raises:
        DomainError: ARTIFACT_CORRUPT.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256 or len(data) != file.size:
        raise DomainError(
            Reason.ARTIFACT_CORRUPT,
            f"The artifact store's copy of {file.path} is damaged: it has the digest {found}, not {file.sha256}. "
            "Restore it from a copy, or train the adapter again.",
            {"expected": file.sha256, "actual": found},
        )
    return data


def check_manifest(config: AdapterConfig, manifest: AdapterManifest) -> None:
    """Hold adapter_config.json against what the manifest says of it.

    Raises:
        DomainError: ADAPTER_INVALID.
    """
    for key, value in (("r", config.r), ("lora_alpha", config.lora_alpha)):
        stated = manifest.peft.get(key, value)
        if stated != value:
            raise invalid(f"its manifest says {key} is {stated!r}, its {CONFIG_FILE} {value!r}")


def read_header(header: bytes, file: ManifestFile) -> tuple[TensorEntry, ...]:
    """Read the JSON of the weights' header, if it is the one that the manifest names.

    Raises:
        DomainError: ARTIFACT_CORRUPT, ADAPTER_INVALID.
    """
    if file.header_sha256 is not None and hashlib.sha256(header).hexdigest() != file.header_sha256:
        raise DomainError(
            Reason.ARTIFACT_CORRUPT,
            f"The header of {file.path} in the artifact store is not the one that was published. Restore the file.",
            {"expected": file.header_sha256},
        )
    try:
        return parse_header(header, file_size=file.size, what=file.path)
    except DomainError as error:
        raise DomainError(Reason.ADAPTER_INVALID, error.message, error.metadata) from None


def plan_layers(
    config: AdapterConfig, entries: Iterable[TensorEntry], modules: Sequence[LinearModule]
) -> tuple[PlannedLayer, ...]:
    """Pair the tensors of a file and hold them against the configuration and the base's modules.

    Raises:
        DomainError: ADAPTER_INVALID where a tensor is left over, missing, of another shape or dtype, or names no module.
    """
    pairs = _pairs(entries)
    if not pairs:
        raise invalid(f"{WEIGHTS_FILE} holds no LoRA tensor")
    known = {module.name: module for module in modules if module.kind in HOOKED_KINDS}
    if strange := sorted(pairs.keys() - known.keys()):
        raise invalid(f"the base has no linear modules {_some(strange)}")
    _check_targets(config, pairs.keys(), known)
    return tuple(_plan(config, known[name], pair) for name, pair in sorted(pairs.items()))


def read_layers(data: bytes, planned: Iterable[PlannedLayer]) -> tuple[LoraLayer, ...]:
    """Take the planned tensors out of a file's bytes and look at their values.

    Raises:
        DomainError: ADAPTER_INVALID where one is not finite, ADAPTER_NO_EFFECT where every B is zero.
    """
    layers = tuple(
        LoraLayer(layer.module, _tensor(data, layer.a), _tensor(data, layer.b), layer.scaling) for layer in planned
    )
    for layer in layers:
        for side, tensor in (("A", layer.a), ("B", layer.b)):
            if not torch.isfinite(tensor).all():
                raise invalid(f"lora_{side} of {layer.module} holds values that are not finite; train it again")
    if not any(layer.b.any() for layer in layers):
        raise DomainError(
            Reason.ADAPTER_NO_EFFECT,
            "Every lora_B of the adapter is zero, so it would answer exactly like its base. Train it again, for more "
            "steps or at a higher learning rate.",
        )
    return layers


def _pairs(entries: Iterable[TensorEntry]) -> dict[str, dict[str, TensorEntry]]:
    pairs: dict[str, dict[str, TensorEntry]] = {}
    for entry in entries:
        match = _KEY.fullmatch(entry.name)
        if match is None:
            raise invalid(f"{WEIGHTS_FILE} holds {entry.name[:120]!r}, which is no LoRA tensor of a linear module")
        pairs.setdefault(match["module"], {})[match["side"]] = entry
    for module, pair in sorted(pairs.items()):
        if missing := {"A", "B"} - pair.keys():
            raise invalid(f"{module} lacks its lora_{missing.pop()}")
    return pairs


def _check_targets(config: AdapterConfig, found: Iterable[str], known: Mapping[str, LinearModule]) -> None:
    """Exactly the modules that the configuration names must have tensors."""
    declared = {name for name in known if config.targets(name)}
    present = set(found)
    if missing := sorted(declared - present):
        raise invalid(f"its configuration targets {_some(missing)}, for which it has no tensors")
    if extra := sorted(present - declared):
        raise invalid(f"it has tensors for {_some(extra)}, which its configuration does not target")


def _plan(config: AdapterConfig, module: LinearModule, pair: Mapping[str, TensorEntry]) -> PlannedLayer:
    rank, a, b = config.rank(module.name), pair["A"], pair["B"]
    for entry, shape in ((a, (rank, module.in_features)), (b, (module.out_features, rank))):
        if entry.shape != shape:
            raise invalid(f"{entry.name} has the shape {list(entry.shape)}; base and rank ask for {list(shape)}")
        if entry.dtype not in WEIGHT_DTYPES:
            raise invalid(f"{entry.name} is stored as {entry.dtype}; use one of {', '.join(sorted(WEIGHT_DTYPES))}")
    return PlannedLayer(module.name, a, b, config.scaling(module.name))


def _tensor(data: bytes, entry: TensorEntry) -> torch.Tensor:
    # bytearray: torch wants memory that it may write.
    part = bytearray(memoryview(data)[entry.begin : entry.end])
    return torch.frombuffer(part, dtype=DTYPES[entry.dtype]).reshape(entry.shape)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
