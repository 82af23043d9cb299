"""Decoders of the Llama kind, computed in fewer and larger operations than transformers' own forward pass.

Query, key and value are one product, so are gate and up; a residual is added by the product that comes before it; queries and keys are
turned together. For a few rows on a processor what happens between the products costs as much as they do.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import SiLUActivation
from transformers.models.llama.modeling_llama import LlamaForCausalLM
from transformers.models.mistral.modeling_mistral import MistralForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2ForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3ForCausalLM

from services.inference.engine.batched.attention import AttentionOptions, BatchedAttention
from services.inference.engine.batched.linear import BatchedLinear
from services.inference.engine.native.kernels import AS_IT_IS, GATE, NORM, Before, HeadShape, Kernels, NativeHeads

FAMILIES: Final = (LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM)
"""Models whose layers were read and are those below; what is derived from them may differ."""

FIXED_ROPE: Final = frozenset({"default", "linear", "llama3", "yarn"})
"""Rotary embeddings whose frequencies are the same whatever the length of a text."""

JOINED: Final = (("self_attn", ("q_proj", "k_proj", "v_proj")), ("mlp", ("gate_proj", "up_proj")))
"""Modules of a layer that read the same inputs."""


def is_known(model: PreTrainedModel) -> bool:
    """Whether a model is of the kind that is computed here."""
    if type(model) not in FAMILIES:
        return False
    rotary: Any = model.model.rotary_emb
    return rotary.rope_type in FIXED_ROPE


def joined(model: PreTrainedModel) -> list[tuple[str, ...]]:
    """Names of the linear modules that can be computed in one product."""
    layers: Any = model.model.layers
    return [
        tuple(f"model.layers.{index}.{parent}.{name}" for name in names)
        for index in range(len(layers))
        for parent, names in JOINED
    ]


class FusedDecoder:
    """A model's forward pass for the tokens of a step."""

    def __init__(
        self,
        model: PreTrainedModel,
        linear: Mapping[str, BatchedLinear],
        attention: BatchedAttention,
        kernels: Kernels | None = None,
    ) -> None:
        """Take the parts of a model.

        Args:
            model: one that ``is_known``.
            linear: its linear modules, by the name of each.
            attention: of all layers.
            kernels: to compute with, or None.
        """
        body: Any = model.model
        self._embed: Callable[[Tensor], Tensor] = body.embed_tokens
        self._rotary = body.rotary_emb
        self._layers = [
            _Layer(layer, f"model.layers.{index}", linear, attention, kernels)
            for index, layer in enumerate(body.layers)
        ]
        self._norm = _Norm(body.norm)
        self._head = linear["lm_head"]

    def __call__(self, ids: Tensor, positions: Tensor, keep: Tensor | int) -> Tensor:
        """Compute logits [kept, vocabulary].

        Args:
            ids: [1, tokens].
            positions: [1, tokens].
            keep: which tokens, or how many of the last.
        """
        x = self._embed(ids)[0]
        turn = self._turn(positions[0], x.dtype)
        for layer in self._layers:
            x = layer(x, turn)
        kept = x[-keep:] if isinstance(keep, int) else x.index_select(0, keep)
        return self._head.after(self._norm, kept)

    def _turn(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosine and sine [tokens, 1, width / 2] of the angles at some positions (Su et al., 2021)."""
        angles = positions.unsqueeze(1).float() * self._rotary.inv_freq
        cos, sin = angles.cos(), angles.sin()
        if self._rotary.attention_scaling != 1:
            cos, sin = cos * self._rotary.attention_scaling, sin * self._rotary.attention_scaling
        return cos.to(dtype).unsqueeze(1), sin.to(dtype).unsqueeze(1)


class _Layer:
    """One decoder layer."""

    def __init__(
        self,
        layer: Any,
        name: str,
        linear: Mapping[str, BatchedLinear],
        attention: BatchedAttention,
        kernels: Kernels | None,
    ) -> None:
        own, config = layer.self_attn, layer.self_attn.config
        self._index: int = own.layer_idx
        self._width: int = own.head_dim
        self._shared: int = config.num_key_value_heads
        self._turned: int = config.num_attention_heads + self._shared
        self._options = AttentionOptions(scaling=own.scaling, window=_window(own))
        self._attention = attention
        self._before, self._between = _Norm(layer.input_layernorm), _Norm(layer.post_attention_layernorm)
        self._norms = (_Norm(own.q_norm), _Norm(own.k_norm)) if hasattr(own, "q_norm") else None
        self._qkv = linear[f"{name}.self_attn.q_proj"]
        self._out = linear[f"{name}.self_attn.o_proj"]
        self._gate_up = linear[f"{name}.mlp.gate_proj"]
        self._down = linear[f"{name}.mlp.down_proj"]
        self._gate = _Gate(layer.mlp.act_fn)
        self._kernels = kernels
        if kernels is not None:
            self._heads = NativeHeads(self._shape(config.num_attention_heads))

    def __call__(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        """Compute outputs [tokens, hidden]."""
        seen = self._attend(self._qkv.after(self._before, x), turn)
        x = self._out.after(AS_THEY_ARE, seen, onto=x)
        return self._down.after(self._gate, self._gate_up.after(self._between, x), onto=x)

    def _attend(self, qkv: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        """Attend [tokens, heads * width]."""
        if self._kernels is not None:
            found = self._attention.attend_natively(self._index, qkv, turn, self._heads, self._kernels)
            if found is not None:
                return found
        heads = qkv.view(len(qkv), -1, self._width)
        turned = _turned(self._normed(heads[:, : self._turned]), *turn)
        query, key, value = turned[:, : -self._shared], turned[:, -self._shared :], heads[:, self._turned :]
        return self._attention.attend(self._index, query, key, value, self._options).reshape(len(qkv), -1)

    def _shape(self, heads: int) -> HeadShape:
        norms = None
        if self._norms is not None:
            query, key = self._norms
            norms = (query.weight, key.weight, query.eps)
        return HeadShape(heads, self._shared, self._width, norms, self._options.scaling, self._options.window)

    def _normed(self, heads: Tensor) -> Tensor:
        """Queries and keys [tokens, heads, width], normed where the family does so."""
        if self._norms is None:
            return heads
        query, key = self._norms
        return torch.cat([query(heads[:, : -self._shared]), key(heads[:, -self._shared :])], 1)


class _Norm:
    """Root mean square layer normalisation (Zhang and Sennrich, 2019)."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self.weight: Tensor = module.weight.detach()  # type: ignore[operator]
        self.eps = float(module.variance_epsilon)  # type: ignore[arg-type]
        self._eps = torch.tensor(self.eps, dtype=torch.float32, device=self.weight.device)
        self.native = Before(NORM, self.weight, self.eps)

    def __call__(self, x: Tensor) -> Tensor:
        """Norm the last dimension."""
        if x.dtype is not torch.float32:
            normed: Tensor = self._module(x)
            return normed
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = torch.addcmul(self._eps, length, length, value=1 / x.shape[-1]).rsqrt_()
        return (x * scale).mul_(self.weight)


class _Gate:
    """``act(gate) * up`` of ``gate | up``."""

    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        self._act = act
        self.native = Before(GATE) if isinstance(act, nn.SiLU | SiLUActivation) else None

    def __call__(self, x: Tensor) -> Tensor:
        """Compute [tokens, inner] of [tokens, 2 inner]."""
        gate, up = x.chunk(2, -1)
        return self._act(gate).mul_(up)


class _AsTheyAre:
    """Inputs that are used as they are."""

    native = AS_IT_IS

    def __call__(self, x: Tensor) -> Tensor:
        return x


AS_THEY_ARE: Final = _AsTheyAre()


def _turned(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn [tokens, heads, width] by the angles of its position: pairs are i and i + width / 2."""
    pairs = heads.view(*heads.shape[:2], 2, -1)
    turned = pairs * cos.unsqueeze(1)
    if heads.dtype is torch.float32:
        turned[:, :, 0].addcmul_(pairs[:, :, 1], sin, value=-1)
        turned[:, :, 1].addcmul_(pairs[:, :, 0], sin)
    else:  # rounded after each step, as transformers does
        turned[:, :, 0] -= pairs[:, :, 1] * sin
        turned[:, :, 1] += pairs[:, :, 0] * sin
    return turned.flatten(-2)


def _window(attention: Any) -> int | None:
    """Positions that a layer sees; Mistral says it for the whole model, Qwen for each layer, Llama has none."""
    if hasattr(attention, "sliding_window"):
        found: int | None = attention.sliding_window
        return found
    is_mistral = attention.config.model_type == "mistral"
    return getattr(attention.config, "sliding_window", None) if is_mistral else None


def names_of(groups: Sequence[tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The group of each module that is in one."""
    return {name: group for group in groups for name in group}
