"""From the bytes of a checked file to the tensors that an engine attaches."""

import torch

from services.common.admission.plan import AdapterPlan, PlannedLayer, PlannedReplacement
from services.common.bases.loader import DTYPES
from services.common.identity import TensorEntry
from services.inference.engine.protocol import AdapterWeights, LoraLayer, ModuleReplacement


def read_weights(digest: str, data: bytes, plan: AdapterPlan) -> AdapterWeights:
    """Take the planned tensors out of a file.

    Args:
        digest: the version's name.
        data: the whole safetensors file, of which the plan was made.
        plan: what its tensors are for.
    """
    view = memoryview(data)
    return AdapterWeights(
        digest,
        tuple(_layer(view, layer) for layer in plan.layers),
        tuple(_replacement(view, replacement) for replacement in plan.replacements),
    )


def _layer(data: memoryview, planned: PlannedLayer) -> LoraLayer:
    return LoraLayer(
        planned.module,
        _tensor(data, planned.a),
        _tensor(data, planned.b),
        planned.scaling,
        magnitude=_optional(data, planned.magnitude),
        bias=_optional(data, planned.bias),
    )


def _replacement(data: memoryview, planned: PlannedReplacement) -> ModuleReplacement:
    return ModuleReplacement(planned.module, _tensor(data, planned.weight), _optional(data, planned.bias))


def _optional(data: memoryview, entry: TensorEntry | None) -> torch.Tensor | None:
    return None if entry is None else _tensor(data, entry)


def _tensor(data: memoryview, entry: TensorEntry) -> torch.Tensor:
    # bytearray: torch wants memory that it may write.
    return torch.frombuffer(bytearray(data[entry.begin : entry.end]), dtype=DTYPES[entry.dtype]).reshape(entry.shape)
