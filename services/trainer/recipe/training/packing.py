"""Attention over rows that lie one behind the other, without padding, by way of transformers' attention interface.

A micro-batch is one long row to the model; what keeps its rows apart is their positions, and attention that ends where a row does.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME: Final = "tenon-packed"

HARMLESS: Final = frozenset({"scaling", "dropout", "sliding_window", "is_causal", "position_ids", "use_cache"})
"""Options of attention that are heeded, or change nothing here; any other may change what is computed."""

_rows = threading.local()
"""Lengths of the rows that this thread computes; threads compute micro-batches of their own."""


class UnsupportedAttentionError(Exception):
    """A layer asks for attention that is not computed here."""


@contextmanager
def packed(model: PreTrainedModel) -> Iterator[None]:
    """Have a model take packed rows until the block ends."""
    usual = model.config._attn_implementation  # noqa: SLF001
    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


@contextmanager
def rows_of(lengths: Sequence[int]) -> Iterator[None]:
    """Compute rows of these lengths in this thread; none where they are padded."""
    _rows.lengths = tuple(lengths)
    try:
        yield
    finally:
        del _rows.lengths


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attend, each row to itself alone.

    Args:
        module: the layer.
        query: [1, heads, tokens, width], or one for each padded row.
        key: [1, key heads, tokens, width], likewise.
        value: the same.
        attention_mask: none is made for an implementation of its own.
        **options: of the layer.

    Returns:
        [1, tokens, heads, width], likewise.

    Raises:
        UnsupportedAttentionError: where the layer is not plain causal attention.
    """
    unknown = sorted(name for name, value in options.items() if value is not None and name not in HARMLESS)
    if unknown or attention_mask is not None or options.get("dropout") or not getattr(module, "is_causal", True):
        raise UnsupportedAttentionError(f"attention with {', '.join(unknown) or 'a mask of its own'}")
    lengths: tuple[int, ...] = _rows.lengths
    if len(lengths) < 2:
        return _row(query, key, value, options).transpose(1, 2), None
    parts = zip(*(torch.split(x, list(lengths), 2) for x in (query, key, value)), strict=True)
    return torch.cat([_row(q, k, v, options).transpose(1, 2) for q, k, v in parts], 1), None


def _row(query: Tensor, key: Tensor, value: Tensor, options: dict[str, Any]) -> Tensor:
    window, length = options.get("sliding_window"), query.shape[2]
    mask = None if window is None or length <= window else _band(length, window, query.device)
    grouped = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=options.get("scaling"), enable_gqa=grouped
    )


def _band(length: int, window: int, device: torch.device) -> Tensor:
    """Which positions [length, length] each position sees: itself and those before it, as many as the window."""
    seen = torch.ones(length, length, dtype=torch.bool, device=device)
    return seen.tril_().triu_(1 - window)
