"""What an adapter makes of one module, computed as PEFT computes it and ready on the model's device."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from services.common.errors import DomainError, Reason
from services.inference.engine.protocol import LoraLayer, ModuleReplacement

Forward = Callable[..., Tensor]

NORM_ROWS: Final = 1024
"""Rows of a matrix whose lengths are computed at a time, so that the memory for it stays small."""


class Change(Protocol):
    """What a module computes while an adapter is active.

    Attributes:
        tensors: the adapter's tensors that it uses.
        size_bytes: memory that they take.
    """

    @property
    def tensors(self) -> int: ...

    @property
    def size_bytes(self) -> int: ...

    def __call__(self, forward: Forward, x: Tensor) -> Tensor:
        """Compute the module's output; ``forward`` is what it computes without an adapter."""


@dataclass(frozen=True, slots=True)
class LinearChange:
    """LoRA or DoRA on a Linear or Conv1D module, in single precision whatever the base computes in.

    Attributes:
        a: [rank, in].
        b: [out, rank].
        scaling: factor of both.
        bias: [out], of lora_B, or None.
        gain: [out], DoRA's magnitude over the length of each row of the changed weight, or None.
        base_bias: [out], of the module; what DoRA scales does not include it.
    """

    a: Tensor
    b: Tensor
    scaling: float
    bias: Tensor | None
    gain: Tensor | None
    base_bias: Tensor | None

    @property
    def tensors(self) -> int:
        """See ``Change``."""
        return _count(self.a, self.b, self.bias, self.gain)

    @property
    def size_bytes(self) -> int:
        """See ``Change``."""
        return _size(self.a, self.b, self.bias, self.gain)

    def __call__(self, forward: Forward, x: Tensor) -> Tensor:
        """See ``Change``."""
        output = forward(x)
        low = functional.linear(x.to(self.a.dtype), self.a)
        change = functional.linear(low, self.b, self.bias) * self.scaling
        if self.gain is None:
            return (output + change).to(output.dtype)
        product = output if self.base_bias is None else output - self.base_bias
        return (output + (self.gain - 1) * product + self.gain * change).to(output.dtype)


@dataclass(frozen=True, slots=True)
class EmbeddingChange:
    """LoRA or DoRA on an Embedding module.

    Attributes:
        rows: [rows, rank], lora_embedding_A turned over, so that a token's row lies together.
        b: [width, rank].
        scaling: factor of both.
        gain: [width], as in ``LinearChange``.
        embed_scale: what the module multiplies its rows with (Gemma 3), or 1.
    """

    rows: Tensor
    b: Tensor
    scaling: float
    gain: Tensor | None
    embed_scale: Tensor | float

    @property
    def tensors(self) -> int:
        """See ``Change``."""
        return _count(self.rows, self.b, self.gain)

    @property
    def size_bytes(self) -> int:
        """See ``Change``."""
        return _size(self.rows, self.b, self.gain)

    def __call__(self, forward: Forward, x: Tensor) -> Tensor:
        """See ``Change``."""
        output = forward(x)
        change = functional.linear(functional.embedding(x, self.rows), self.b) * self.scaling * self.embed_scale
        if self.gain is None:
            return (output + change).to(output.dtype)
        return (self.gain * output + self.gain * change).to(output.dtype)


@dataclass(frozen=True, slots=True)
class Replacement:
    """Another matrix in place of a module's own, in the number format of the base.

    Attributes:
        compute: from input, weight and bias to output.
        weight: of the shape that the module's own has.
        bias: likewise, or None.
    """

    compute: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    weight: Tensor
    bias: Tensor | None

    @property
    def tensors(self) -> int:
        """See ``Change``."""
        return _count(self.weight, self.bias)

    @property
    def size_bytes(self) -> int:
        """See ``Change``."""
        return _size(self.weight, self.bias)

    def __call__(self, forward: Forward, x: Tensor) -> Tensor:  # noqa: ARG002 - it takes the place of ``forward``
        """See ``Change``."""
        return self.compute(x, self.weight, self.bias)


def is_changeable(module: nn.Module) -> bool:
    """Whether adapters can change such a module here; an embedding may look its rows up in a way of its own (OPT)."""
    if isinstance(module, nn.Embedding):
        plain = type(module).forward is nn.Embedding.forward or getattr(module, "looks_up_rows", False)
        return plain or hasattr(module, "embed_scale")
    return isinstance(module, nn.Linear | Conv1D)


def low_rank(module: nn.Module, layer: LoraLayer) -> LinearChange | EmbeddingChange:
    """Make a layer ready for its module.

    Raises:
        DomainError: ADAPTER_SHAPE_MISMATCH, ADAPTER_NOT_FINITE.
    """
    out_features, in_features = _features(module)
    rank = layer.a.shape[0]
    _check(layer.module, "lora_A", layer.a, (rank, in_features))
    _check(layer.module, "lora_B", layer.b, (out_features, rank))
    _check(layer.module, "lora_magnitude_vector", layer.magnitude, (out_features,))
    _check(layer.module, "the bias of lora_B", layer.bias, (out_features,))
    device = _device(module)
    a, b = _single(layer.a, device), _single(layer.b, device)
    gain = None
    if layer.magnitude is not None:
        gain = _gain(layer.module, _single(layer.magnitude, device), _matrix(module), a, b * layer.scaling)
    if isinstance(module, nn.Embedding):
        return EmbeddingChange(a.T.contiguous(), b, layer.scaling, gain, getattr(module, "embed_scale", 1.0))
    bias = None if layer.bias is None else _single(layer.bias, device)
    return LinearChange(a, b, layer.scaling, bias, gain, getattr(module, "bias", None))


def replacement(module: nn.Module, replaced: ModuleReplacement) -> Replacement:
    """Make a replaced matrix ready for its module.

    Raises:
        DomainError: ADAPTER_SHAPE_MISMATCH, ADAPTER_TENSOR_MISSING, ADAPTER_TENSOR_UNEXPECTED.
    """
    own, own_bias = _weight(module), getattr(module, "bias", None)
    _check(replaced.module, "the weight", replaced.weight, tuple(own.shape))
    if own_bias is not None and replaced.bias is None:
        raise DomainError(
            Reason.ADAPTER_TENSOR_MISSING,
            f"The adapter replaces {replaced.module}, which has a bias, and brings none. Save it again with its bias.",
        )
    if own_bias is None and replaced.bias is not None:
        raise DomainError(
            Reason.ADAPTER_TENSOR_UNEXPECTED,
            f"The adapter brings a bias for {replaced.module}, which has none on this base. Serve it on its own base.",
        )
    if own_bias is not None:
        _check(replaced.module, "the bias", replaced.bias, tuple(own_bias.shape))
    bias = None if replaced.bias is None else _like(replaced.bias, own)
    return Replacement(_computation(module), _like(replaced.weight, own), bias)


def _computation(module: nn.Module) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    if isinstance(module, nn.Embedding):
        scale = getattr(module, "embed_scale", None)
        if scale is None:
            return lambda x, weight, _bias: functional.embedding(x, weight)
        return lambda x, weight, _bias: functional.embedding(x, weight) * scale
    if is_transposed(module):
        return lambda x, weight, bias: functional.linear(x, weight.T, bias)
    return functional.linear


def is_transposed(module: nn.Module) -> bool:
    """Whether a linear module's weight is [in, out] in files, which Conv1D's is."""
    return isinstance(module, Conv1D) or getattr(module, "transposed", False)


def _features(module: nn.Module) -> tuple[int, int]:
    """Features that a module gives out and takes in; an Embedding takes in one for each of its rows."""
    if isinstance(module, nn.Embedding):
        return module.embedding_dim, module.num_embeddings
    if isinstance(module, Conv1D):
        inputs, outputs = module.weight.shape
        return outputs, inputs
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    raise TypeError(type(module).__name__)


def _device(module: nn.Module) -> torch.device:
    """Where a module computes, which asks nobody to unpack its weight; packed weights are on a processor."""
    known = getattr(module, "device", None)
    if isinstance(known, torch.device):
        return known
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


def _weight(module: nn.Module) -> Tensor:
    """The module's weight, of the shape that it has in files."""
    weight: Tensor = module.weight.detach()  # type: ignore[operator]  # a tensor in all that are changed
    return weight.T if is_transposed(module) and isinstance(module, nn.Linear) else weight


def _matrix(module: nn.Module) -> Tensor:
    """The module's weight as [out, in]; of an Embedding, [width, rows]."""
    weight = _weight(module)
    return weight.T if is_transposed(module) or isinstance(module, nn.Embedding) else weight


def _gain(name: str, magnitude: Tensor, weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """DoRA's ``m / ‖W + s·B·A‖``, row by row (Liu et al., 2024); constant while the adapter does not change."""
    lengths = [
        torch.linalg.vector_norm(rows.to(a.dtype) + part @ a, dim=1)
        for rows, part in zip(torch.split(weight, NORM_ROWS), torch.split(b, NORM_ROWS), strict=True)
    ]
    gain = magnitude / torch.cat(lengths)
    if not torch.isfinite(gain).all():
        raise DomainError(
            Reason.ADAPTER_NOT_FINITE,
            f"DoRA's factor for {name} is not finite: a row of the base's weight and the adapter's change cancel each "
            "other. Train the adapter again.",
        )
    return gain


def _check(module: str, what: str, tensor: Tensor | None, shape: tuple[int, ...]) -> None:
    if tensor is not None and tuple(tensor.shape) != shape:
        raise DomainError(
            Reason.ADAPTER_SHAPE_MISMATCH,
            f"{what} of the adapter for {module} has the shape {list(tensor.shape)}; this base asks for {list(shape)}. "
            "Serve the adapter on the base it was trained on.",
        )


def _single(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.detach().to(device=device, dtype=torch.float32, copy=True)


def _like(tensor: Tensor, own: Tensor) -> Tensor:
    return tensor.detach().to(device=own.device, dtype=own.dtype, copy=True)


def _count(*tensors: Tensor | None) -> int:
    return sum(tensor is not None for tensor in tensors)


def _size(*tensors: Tensor | None) -> int:
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)
