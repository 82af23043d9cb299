"""An adapter for the large base: rank 16 on every linear layer, 336 tensors."""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.large_base import base_shapes

RANK: Final = 16
TARGETS: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def make_large_adapter(directory: Path) -> Path:
    """Write the adapter as PEFT does; the same bytes every time.

    Returns:
        The directory.
    """
    directory.mkdir(parents=True)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 32, "target_modules": TARGETS}
    (directory / "adapter_config.json").write_text(json.dumps(config))
    header: dict[str, Any] = {}
    offset = 0
    for name, shape in _shapes().items():
        end = offset + 4 * shape[0] * shape[1]
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    values = np.random.default_rng(0).standard_normal(offset // 4, dtype=np.float32)
    (directory / "adapter_model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + values.tobytes())
    return directory


def _shapes() -> dict[str, tuple[int, int]]:
    shapes: dict[str, tuple[int, int]] = {}
    for tensor, shape in base_shapes().items():
        module = tensor.removesuffix(".weight")
        if module.endswith(TARGETS):
            out_features, in_features = shape
            shapes[f"base_model.model.{module}.lora_A.weight"] = (RANK, in_features)
            shapes[f"base_model.model.{module}.lora_B.weight"] = (out_features, RANK)
    return shapes
