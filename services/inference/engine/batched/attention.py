"""Attention over the rows of a step, by way of transformers' attention interface.

The tokens of all rows come packed one after another. Their keys and values are written into the arenas; then rows that generate
are attended to together, neighbours in memory in one call, and each piece of a prompt by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.inference.engine.batched.kv import KvMemory, LayerShape
from services.inference.engine.native.kernels import Kernels, NativeHeads

KNOWN_OPTIONS: Final = frozenset(
    {"dropout", "scaling", "sliding_window", "softcap", "s_aux", "position_ids", "use_cache", "output_attentions"}
    | {"output_hidden_states", "cache_position", "is_causal", "logits_to_keep", "position_embeddings", "return_dict"}
)
"""What attention may be called with; an option that is not known here may change what is computed."""

WIDEST_GAP: Final = 2
"""Unused spans between two rows that are attended to in one call: cheaper than another call."""


class UnsupportedAttentionError(Exception):
    """A layer asks for attention that is not computed here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionOptions:
    """How scores become weights.

    Attributes:
        scaling: factor of all scores.
        window: positions that are seen, the own one included, or None for all.
        softcap: scores are bent to stay below it (Gemma 2), or None.
        sinks: [heads] a score for looking at nothing (GPT-OSS), or None.
    """

    scaling: float
    window: int | None = None
    softcap: float | None = None
    sinks: Tensor | None = None


class Plan(Protocol):
    """The tokens of a step in time and in memory.

    Attributes:
        places: [tokens] in the arenas, where their keys and values go.
    """

    @property
    def places(self) -> Tensor: ...

    def attend(self, query: Tensor, keys: Tensor, values: Tensor, how: AttentionOptions) -> Tensor:
        """Attend [tokens, heads, value width], once their keys and values are in the arenas."""


@dataclass(frozen=True, slots=True)
class Run:
    """Rows that generate, whose spans lie at a constant distance.

    Attributes:
        begin: where the first span begins.
        capacity: of each span, which is the distance.
        lengths: [rows] positions of each row, its new one included; 0 for a span that is not taking part. Where the arenas are.
        longest: the largest of them.
    """

    begin: int
    capacity: int
    lengths: Tensor
    longest: int

    @property
    def count(self) -> int:
        """Spans."""
        return len(self.lengths)

    def view(self, arena: Tensor) -> Tensor:
        """The rows' part of an arena, [rows, heads, positions, width]."""
        end = self.begin + self.count * self.capacity
        spans = arena[self.begin : end].view(self.count, self.capacity, *arena.shape[1:])
        return spans[:, : self.longest].transpose(1, 2)


@dataclass(frozen=True, slots=True)
class PromptPiece:
    """Neighbouring tokens of one row, of which none is generated yet.

    Attributes:
        tokens: which of the step's.
        begin: where the row's span begins.
        start: position of the first of them.
    """

    tokens: slice
    begin: int
    start: int

    @property
    def count(self) -> int:
        """Tokens."""
        return int(self.tokens.stop - self.tokens.start)

    @property
    def length(self) -> int:
        """Positions of the row up to the last of them."""
        return self.start + self.count


@dataclass(eq=False, slots=True)
class AttentionPlan:
    """Where the tokens of a step are, in time and in memory; masks are made when a layer first asks for them.

    Attributes:
        places: [tokens] in the arenas, where their keys and values go.
        positions: [tokens] in their rows.
        decoding: how many tokens are generated; they come first.
        runs: of these.
        order: [spans of all runs] the token of each span, or None where it is the order of the tokens themselves.
        back: [decoding] the place among the runs' spans of each token, likewise.
        prompts: the other tokens.
    """

    places: Tensor
    positions: Tensor
    decoding: int
    runs: Sequence[Run]
    order: Tensor | None
    back: Tensor | None
    prompts: Sequence[PromptPiece]
    _masks: dict[tuple[int, int | None], Tensor | None] = field(default_factory=dict)

    def attend(self, query: Tensor, keys: Tensor, values: Tensor, how: AttentionOptions) -> Tensor:
        """See ``Plan``."""
        parts = [_decode(self, query, keys, values, how)] if self.runs else []
        parts += [_prompt(self, i, query, keys, values, how) for i in range(len(self.prompts))]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def run_mask(self, index: int, window: int | None, like: Tensor) -> Tensor | None:
        """What is added to scores [rows, 1, 1, positions] of a run; None where nothing is hidden."""
        key = (index, window)
        if key not in self._masks:
            run = self.runs[index]
            lengths = run.lengths.view(-1, 1, 1, 1)
            position = torch.arange(run.longest, device=like.device)
            hidden = position >= lengths
            if window is not None:
                hidden |= position < lengths - window
            # A span that takes no part would have nothing to look at, which is not a number.
            hidden &= lengths > 0
            self._masks[key] = _mask(hidden, like)
        return self._masks[key]

    def prompt_mask(self, index: int, window: int | None, like: Tensor) -> Tensor | None:
        """What is added to scores [tokens, positions] of a piece of a prompt."""
        key = (-1 - index, window)
        if key not in self._masks:
            piece = self.prompts[index]
            self._masks[key] = causal_mask(piece.start, piece.count, window, like)
        return self._masks[key]


class GatheredPlan:
    """Generated tokens, wherever their rows are: the same operations whatever the rows, at the cost of a copy of what they see.

    A row that is shorter than the others sees its own last position again, hidden, and never what another row wrote.
    """

    def __init__(self, begins: Tensor, positions: Tensor, longest: int) -> None:
        """Plan for some rows.

        Args:
            begins: [rows] where the span of each begins.
            positions: [rows] of the tokens.
            longest: positions that are looked at; no row has more.
        """
        position, own = torch.arange(longest, device=begins.device), positions.unsqueeze(1)
        self.places = begins + positions
        self._seen = (begins.unsqueeze(1) + torch.minimum(position, own)).flatten()
        self._later, self._distance = position > own, own - position
        self._shape = (len(begins), longest)

    def attend(self, query: Tensor, keys: Tensor, values: Tensor, how: AttentionOptions) -> Tensor:
        """See ``Plan``."""
        (rows, heads, _), shared = query.shape, keys.shape[1]
        hidden = self._later if how.window is None else self._later | (self._distance >= how.window)
        mask = torch.zeros(hidden.shape, dtype=query.dtype, device=query.device).masked_fill_(hidden, -torch.inf)
        key, value = (
            arena.index_select(0, self._seen).view(*self._shape, *arena.shape[1:]).transpose(1, 2)
            for arena in (keys, values)
        )
        shape = (shared, heads // shared, -1) if how.sinks is None else (heads, 1, -1)
        return attend(query.view(rows, *shape), key, value, mask.view(rows, 1, 1, -1), how).reshape(rows, heads, -1)


class BatchedAttention:
    """Implements transformers' attention interface for the step that is planned."""

    def __init__(self) -> None:
        """Know no layers; ``shapes`` fills while nothing is planned."""
        self.shapes: dict[int, LayerShape] = {}
        self._order: dict[int, int] = {}
        self.memory: KvMemory | None = None
        self.plan: Plan | None = None

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        **options: Any,
    ) -> tuple[Tensor, None]:
        """Attend.

        Args:
            module: the layer.
            query: [1, heads, tokens, width].
            key: [1, key heads, tokens, width].
            value: [1, key heads, tokens, value width].
            attention_mask: none is made for an implementation of its own.
            **options: of the layer.

        Returns:
            [1, tokens, heads, value width].

        Raises:
            UnsupportedAttentionError: where the layer is not plain causal attention.
        """
        _check(module, query, attention_mask, options)
        how = AttentionOptions(
            scaling=options.get("scaling") or query.shape[-1] ** -0.5,
            window=options.get("sliding_window"),
            softcap=options.get("softcap"),
            sinks=options.get("s_aux"),
        )
        layer = int(module.layer_idx)  # type: ignore[arg-type]
        query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
        return self.attend(layer, query, key, value, how).unsqueeze(0), None

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, how: AttentionOptions) -> Tensor:
        """Attend in the step that is planned, or within one prompt from its beginning where none is.

        Args:
            layer: which one.
            query: [tokens, heads, width].
            key: [tokens, key heads, width].
            value: [tokens, key heads, value width].
            how: as the layer says.

        Returns:
            [tokens, heads, value width].
        """
        if self.plan is None or self.memory is None:
            return self._alone(layer, query, key, value, how)
        index = self._order[layer]
        keys, values = self.memory.keys[index], self.memory.values[index]
        keys.index_copy_(0, self.plan.places, key)
        values.index_copy_(0, self.plan.places, value)
        return self.plan.attend(query, keys, values, how)

    def attend_natively(
        self, layer: int, qkv: Tensor, turn: tuple[Tensor, Tensor], heads: NativeHeads, kernels: Kernels
    ) -> Tensor | None:
        """Turn and attend in the step that is planned, in few calls; None, and nothing done, where none is.

        Args:
            layer: which one.
            qkv: [tokens, numbers of all heads], is used up.
            turn: cosine and sine [tokens, 1, width / 2] of each position.
            heads: of the layer.
            kernels: to compute with.

        Returns:
            [tokens, heads * width].
        """
        plan, index = self.plan, self._order.get(layer)
        if not isinstance(plan, AttentionPlan) or self.memory is None or index is None:
            return None
        shape, memory = heads.shape, (self.memory.keys[index], self.memory.values[index])
        kernels.turn(heads, qkv, turn, plan.places, memory)
        out = qkv.new_empty(len(qkv), shape.heads * shape.width)
        if plan.decoding:
            kernels.attend(heads, qkv, plan.places, plan.positions, memory, out, plan.decoding)
        query = qkv.view(len(qkv), -1, shape.width)[:, : shape.heads]
        how = AttentionOptions(scaling=shape.scaling, window=shape.window)
        for number, piece in enumerate(plan.prompts):
            out[piece.tokens] = _prompt(plan, number, query, *memory, how).flatten(1)
        return out

    def _alone(self, layer: int, query: Tensor, key: Tensor, value: Tensor, how: AttentionOptions) -> Tensor:
        """One prompt from its beginning, of which nothing is kept."""
        shape = LayerShape(key.shape[1], key.shape[2], value.shape[2])
        if self.shapes.setdefault(layer, shape) != shape:
            raise UnsupportedAttentionError("a layer that computes attention of two kinds")
        self._order = {known: index for index, known in enumerate(self.shapes)}
        mask = causal_mask(0, len(query), how.window, query)
        query, key, value = (x.transpose(0, 1).unsqueeze(0) for x in (query, key, value))
        return attend(query, key, value, mask, how)[0].transpose(0, 1)


def causal_mask(start: int, count: int, window: int | None, like: Tensor) -> Tensor | None:
    """What is added to scores [count, start + count], so that no token sees a later one, or one beyond the window."""
    if count == 1 and (window is None or start < window):
        return None
    query = torch.arange(start, start + count, device=like.device).unsqueeze(1)
    position = torch.arange(start + count, device=like.device)
    hidden = position > query
    if window is not None:
        hidden |= position <= query - window
    return _mask(hidden, like)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, how: AttentionOptions) -> Tensor:
    """Attention of [rows, heads, tokens, width] over [rows, key heads, positions, width], as [rows, heads, tokens, width]."""
    grouped = query.shape[1] != key.shape[1]
    if how.softcap is None and how.sinks is None:
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=how.scaling, enable_gqa=grouped
        )
    if grouped:
        each = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(each, 1), value.repeat_interleave(each, 1)
    scores = query @ key.transpose(2, 3) * how.scaling
    if how.softcap is not None:
        scores = torch.tanh(scores / how.softcap) * how.softcap
    if mask is not None:
        scores = scores + mask
    if how.sinks is None:
        return scores.softmax(-1, dtype=torch.float32).to(value.dtype) @ value
    sinks = how.sinks.view(1, -1, 1, 1).expand(*scores.shape[:3], 1).to(scores.dtype)
    weights = torch.cat([scores, sinks], -1).softmax(-1, dtype=torch.float32)[..., :-1]
    return weights.to(value.dtype) @ value


def _decode(plan: AttentionPlan, rows: Tensor, keys: Tensor, values: Tensor, how: AttentionOptions) -> Tensor:
    """Attention of the tokens that are generated, [decoding, heads, width]."""
    heads, shared = rows.shape[1], keys.shape[1]
    spans = rows[: plan.decoding] if plan.order is None else rows.index_select(0, plan.order)
    found, begin = [], 0
    for index, run in enumerate(plan.runs):
        query = spans[begin : begin + run.count]
        mask = plan.run_mask(index, how.window, rows)
        # Heads that share keys are like tokens of one head: no copy of the keys for each. But a sink is a head's own.
        shape = (shared, heads // shared, -1) if how.sinks is None else (heads, 1, -1)
        query = query.view(run.count, *shape)
        outputs = attend(query, run.view(keys), run.view(values), mask, how)
        found.append(outputs.reshape(run.count, heads, -1))
        begin += run.count
    outputs = found[0] if len(found) == 1 else torch.cat(found)
    return outputs if plan.back is None else outputs.index_select(0, plan.back)


def _prompt(
    plan: AttentionPlan, index: int, query: Tensor, keys: Tensor, values: Tensor, how: AttentionOptions
) -> Tensor:
    """Attention of a piece of a prompt, [tokens, heads, width]."""
    piece = plan.prompts[index]
    seen = slice(piece.begin, piece.begin + piece.length)
    key, value = keys[seen].transpose(0, 1).unsqueeze(0), values[seen].transpose(0, 1).unsqueeze(0)
    mask = plan.prompt_mask(index, how.window, query)
    tokens = query[piece.tokens].transpose(0, 1).unsqueeze(0)
    return attend(tokens, key, value, mask, how)[0].transpose(0, 1)


def _mask(hidden: Tensor, like: Tensor) -> Tensor | None:
    if not hidden.any():
        return None
    return torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, -torch.inf)


def _check(module: nn.Module, query: Tensor, mask: Tensor | None, options: Mapping[str, Any]) -> None:
    unknown = sorted(name for name, value in options.items() if value is not None and name not in KNOWN_OPTIONS)
    if unknown:
        raise UnsupportedAttentionError(f"attention with {', '.join(unknown)}")
    if mask is not None or query.shape[0] != 1 or options.get("is_causal") is False:
        raise UnsupportedAttentionError("attention with a mask of its own")
    if not hasattr(module, "layer_idx") or not getattr(module, "is_causal", True):
        raise UnsupportedAttentionError("attention that is not causal")
