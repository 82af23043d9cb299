"""A base without its weights: configuration, module tree and text, from headers alone; for those who only reckon."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM

from services.common.bases.loader import LoadedBase, build_config, context_length
from services.common.bases.text import load_text
from services.common.errors import DomainError, Reason
from services.common.identity import OpenBase


def load_outline(opened: OpenBase) -> LoadedBase:
    """Build a base whose parameters have shapes and no content (torch's device ``meta``).

    Args:
        opened: the base; its tensors' shapes are held against the model's.

    Raises:
        DomainError: as ``load_base``, as far as configuration, headers and tokenizer tell it.
    """
    text, config = load_text(opened), build_config(opened.config)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # transformers' own
    model.eval()
    stored = sum(_size(tensor.entry.shape) for tensor in opened.tensors())
    if stored < model.num_parameters() // 2:
        raise DomainError(
            Reason.BASE_FILES_INCONSISTENT,
            f"The base's files hold {stored:,} values, and its configuration asks for {model.num_parameters():,}. "
            "Download the base again.",
        )
    return LoadedBase(model, text.tokenizer, config, context_length(config), text.chat_template, text.stop_token_ids)


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
