"""The layers of a base in fewer operations, with gradients of their own.

What is computed is what PEFT and transformers compute; what is saved are passes over the activations, which between large products cost
a training step on a processor a third of its time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora.variants import DoraLinearVariant
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import silu
from transformers.activations import SiLUActivation
from transformers.models.llama import modeling_llama as llama
from transformers.models.mistral import modeling_mistral as mistral
from transformers.models.qwen2 import modeling_qwen2 as qwen2
from transformers.models.qwen3 import modeling_qwen3 as qwen3
from transformers.pytorch_utils import Conv1D

NORMS: Final = (llama.LlamaRMSNorm, mistral.MistralRMSNorm, qwen2.Qwen2RMSNorm, qwen3.Qwen3RMSNorm)
GATED: Final = (llama.LlamaMLP, mistral.MistralMLP, qwen2.Qwen2MLP, qwen3.Qwen3MLP)
ROTARY: Final[tuple[Any, ...]] = (llama, mistral, qwen2, qwen3)
"""Whose layers were read; what is derived from them may differ."""

Context = Any
"""torch's ``FunctionCtx``, which takes attributes."""


@contextmanager
def fused(model: PeftModel) -> Iterator[None]:
    """Compute a model in fewer operations until the block ends."""
    replaced: list[nn.Module] = []
    for module in model.modules():
        forward = _forward(module)
        if forward is not None:
            module.forward = forward
            replaced.append(module)
    usual = [namespace.apply_rotary_pos_emb for namespace in ROTARY]
    for namespace in ROTARY:
        namespace.apply_rotary_pos_emb = turn
    try:
        yield
    finally:
        for module in replaced:
            del module.forward
        for namespace, function in zip(ROTARY, usual, strict=True):
            namespace.apply_rotary_pos_emb = function


def _forward(module: Any) -> Callable[[Tensor], Tensor] | None:
    """What computes a module in fewer operations, or None where nothing does."""
    if type(module) is LoraLinear:
        return _lora(module)
    if type(module) in NORMS and not module.weight.requires_grad and module.weight.dtype is torch.float32:
        return lambda x: _norm(x, module.weight, module.variance_epsilon)
    if type(module) in GATED and isinstance(module.act_fn, nn.SiLU | SiLUActivation):
        return lambda x: module.down_proj(_gate(module.gate_proj(x), module.up_proj(x)))
    return None


def _lora(module: Any) -> Callable[[Tensor], Tensor] | None:
    base: Any = module.base_layer
    (name,) = module.active_adapters
    variant = module.lora_variant.get(name)
    plain = not module.lora_bias.get(name) and isinstance(module.lora_dropout[name], nn.Identity)
    if not plain or type(base) not in {nn.Linear, Conv1D} or base.weight.dtype is not torch.float32:
        return None
    if variant is not None and type(variant) is not DoraLinearVariant:
        return None
    weight = base.weight.T if isinstance(base, Conv1D) else base.weight
    a, b, scaling = module.lora_A[name].weight, module.lora_B[name].weight, float(module.scaling[name])
    adapted: Callable[[Tensor], Tensor]
    if variant is None:
        adapted = lambda x: _adapted(x, a, b, weight, base.bias, scaling)  # noqa: E731
    else:
        adapted = _dora(a, b, weight, base.bias, scaling, module.lora_magnitude_vector[name].weight)
    return lambda x: base(x) if module.disable_adapters else adapted(x)


def _dora(
    a: Tensor, b: Tensor, weight: Tensor, bias: Tensor | None, scaling: float, magnitude: Tensor
) -> Callable[[Tensor], Tensor]:
    """``m / ‖W + s B A‖ (W + s B A) x + bias``, lengths by rows and constant for the gradient (Liu et al., 2024, section 4.3).

    W + s B A is never formed: of its rows only the lengths are needed, and ‖w + s b A‖² = ‖w‖² + 2 s b·(A w) + s² b (A Aᵀ) bᵀ.
    """
    own = weight.square().sum(1)

    def adapted(x: Tensor) -> Tensor:
        with torch.no_grad():
            mixed = ((a @ weight.T) * b.T).sum(0)
            added = ((b @ (a @ a.T)) * b).sum(1)
            lengths = (own + 2 * scaling * mixed + scaling**2 * added).clamp_(min=0).sqrt_()
        y = _adapted(x, a, b, weight, None, scaling) * (magnitude / lengths)
        return y if bias is None else y + bias

    return adapted


class Lora(Function):
    """``x Wᵀ + bias + s (x Aᵀ) Bᵀ`` (Hu et al., 2021), W and bias frozen."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, a: Tensor, b: Tensor, weight: Tensor, bias: Tensor | None, s: float) -> Tensor:
        """Compute [..., out] of x [..., in], A [rank, in], B [out, rank], W [out, in]."""
        flat = x.reshape(-1, x.shape[-1])
        low = flat @ a.T
        y = flat @ weight.T if bias is None else torch.addmm(bias, flat, weight.T)
        y.addmm_(low, b.T, alpha=s)
        ctx.save_for_backward(x, low, a, b, weight)
        ctx.scaling = s
        outputs: Tensor = y.view(*x.shape[:-1], -1)
        return outputs

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Pass the gradient of the outputs on to x, A and B."""
        x, low, a, b, weight = ctx.saved_tensors
        flat, dy = x.reshape(-1, x.shape[-1]), gradients[0].reshape(-1, len(weight))
        scaled = (dy @ b).mul_(ctx.scaling)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = (dy @ weight).addmm_(scaled, a).view(x.shape)
        return dx, scaled.T @ flat, (dy.T @ low).mul_(ctx.scaling), None, None, None


class Norm(Function):
    """Root mean square layer normalisation (Zhang and Sennrich, 2019) with a frozen weight."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """Norm the last dimension."""
        scale: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Pass the gradient on to x."""
        x, weight, scale = ctx.saved_tensors
        dy = gradients[0] * weight
        along = torch.linalg.vecdot(dy, x).unsqueeze(-1).mul_(scale.pow(3)).div_(-x.shape[-1])
        return dy.mul_(scale).addcmul_(x, along), None, None


class Gate(Function):
    """``silu(gate) * up`` (Shazeer, 2020)."""

    @staticmethod
    def forward(ctx: Context, gate: Tensor, up: Tensor) -> Tensor:
        """Compute [..., inner] of both."""
        ctx.save_for_backward(gate, up)
        return silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Pass the gradient on to both."""
        (dy,), (gate, up) = gradients, ctx.saved_tensors
        share = torch.sigmoid(gate)
        active = gate * share
        # With s the sigmoid: silu' = s + silu (1 - s).
        slope = torch.addcmul(share, active, share, value=-1).add_(active)
        return slope.mul_(dy).mul_(up), active.mul_(dy)


class Turn(Function):
    """Rotary position embedding (Su et al., 2021): pairs are i and i + width / 2."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Turn [rows, heads, tokens, width] by angles [rows, 1, tokens, width]."""
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin, -1)

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Turn the gradient back."""
        cos, sin = ctx.saved_tensors
        return _turned(gradients[0], cos, sin, 1), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
    half = x.shape[-1] // 2
    y = x * cos
    y[..., :half].addcmul_(x[..., half:], sin[..., :half], value=sign)
    y[..., half:].addcmul_(x[..., :half], sin[..., half:], value=-sign)
    return y


# torch leaves it untyped.
_adapted: Final[Callable[..., Tensor]] = Lora.apply
_norm: Final[Callable[..., Tensor]] = Norm.apply
_gate: Final[Callable[..., Tensor]] = Gate.apply
_turn: Final[Callable[..., Tensor]] = Turn.apply


def turn(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1, **_: object) -> tuple[Tensor, Tensor]:
    """Take the place of transformers' ``apply_rotary_pos_emb``."""
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    return _turn(q, cos, sin), _turn(k, cos, sin)
