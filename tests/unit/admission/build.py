"""A small adapter from raw bytes for the base of ``tests.unit.identity.build``: no torch, every fault easily made."""

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from services.common.admission.seal import make_declared
from services.common.identity import BaseFingerprint, TensorEntry, parse_header
from services.common.manifest import AdapterManifest
from services.common.signing import SigningKey
from tests.support.keys import TEST_KEY, signed
from tests.unit.identity.build import Tensors, llama_tensors, safetensors_bytes

BASE_MODEL: Final = "baseModels/tiny"
PREFIX: Final = "base_model.model."
RANK: Final = 2
SHAPES: Final[Mapping[str, tuple[int, int]]] = {"q_proj": (8, 8), "v_proj": (4, 8)}
"""Targets of the adapter, each with out and in features."""
CONFIG: Final[Mapping[str, Any]] = {
    "peft_type": "LORA",
    "r": RANK,
    "lora_alpha": 4,
    "target_modules": ["q_proj", "v_proj"],
    "bias": "none",
    "use_dora": False,
    "use_rslora": False,
    "fan_in_fan_out": False,
}


def filled(shape: tuple[int, ...], value: float = 0.5, dtype: str = "F32") -> tuple[str, tuple[int, ...], bytes]:
    """A tensor of one value."""
    one = {"F32": struct.pack("<f", value), "F16": struct.pack("<e", value), "BF16": struct.pack("<f", value)[2:]}
    count = 1
    for size in shape:
        count *= size
    return dtype, shape, one[dtype] * count


BASE_TENSORS: Final[Tensors] = {**llama_tensors(), "lm_head.weight": filled((16, 8), 0.125)}
"""Of the base: noise, but for an output matrix whose numbers are finite."""


def lora_tensors(layers: Iterable[int] = (0, 1), dtype: str = "F32") -> Tensors:
    tensors: Tensors = {}
    for layer in layers:
        for target, (out, into) in SHAPES.items():
            stem = f"{PREFIX}model.layers.{layer}.self_attn.{target}"
            tensors[f"{stem}.lora_A.weight"] = filled((RANK, into), 0.25, dtype)
            tensors[f"{stem}.lora_B.weight"] = filled((out, RANK), 0.5, dtype)
    return tensors


@dataclass(frozen=True)
class Adapter:
    """What ``write`` puts into a directory."""

    tensors: Tensors = field(default_factory=lora_tensors)
    config: Mapping[str, Any] = field(default_factory=lambda: dict(CONFIG))
    files: Mapping[str, bytes] = field(default_factory=dict)

    def configured(self, **changes: Any) -> "Adapter":
        return replace(self, config={**self.config, **changes})

    def with_tensors(self, tensors: Tensors) -> "Adapter":
        return replace(self, tensors={**self.tensors, **tensors})

    def without(self, *endings: str) -> "Adapter":
        return replace(self, tensors={name: t for name, t in self.tensors.items() if not name.endswith(endings)})

    @property
    def weights(self) -> bytes:
        return safetensors_bytes(self.tensors, {"format": "pt"})

    @property
    def entries(self) -> tuple[TensorEntry, ...]:
        data = self.weights
        length = int.from_bytes(data[:8], "little")
        return parse_header(data[8 : 8 + length], file_size=len(data), what="adapter_model.safetensors")

    def write(self, directory: Path) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "adapter_config.json").write_text(json.dumps(self.config))
        (directory / "adapter_model.safetensors").write_bytes(self.weights)
        for name, data in self.files.items():
            (directory / name).write_bytes(data)
        return directory


def seal(directory: Path, base: BaseFingerprint, key: SigningKey = TEST_KEY) -> AdapterManifest:
    """Write a manifest and its signature into an adapter's directory."""
    manifest = make_declared(directory, base, BASE_MODEL)
    put_manifest(directory, manifest, key)
    return manifest


def put_manifest(directory: Path, manifest: AdapterManifest, key: SigningKey = TEST_KEY) -> None:
    (directory / "tenon.manifest.json").write_bytes(manifest.to_bytes())
    (directory / "tenon.manifest.dsse.json").write_bytes(signed(manifest, key))
