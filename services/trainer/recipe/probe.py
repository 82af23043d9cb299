"""A fingerprint of behaviour: what base and adapter answer to one prompt, so that a server can tell that it loaded both."""

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from peft import PeftModel
from pydantic import JsonValue
from torch import Tensor

from services.trainer.recipe.labels import LabelledRow

TOP: Final = 8
LONGEST_PROMPT: Final = 64


def probe(model: PeftModel, rows: Sequence[LabelledRow]) -> Mapping[str, JsonValue]:
    """Ask base and adapter for the next token after the shortest prompt of the data.

    Returns:
        ``prompt_token_ids``; ``token_ids``, the eight likeliest of either; ``base_logits`` and ``adapter_logits`` of
        these tokens, in the same order.
    """
    row = min(rows, key=lambda row: row.prompt_length)
    prompt = list(row.token_ids[: min(row.prompt_length, LONGEST_PROMPT)])
    with model.disable_adapter():
        base = _next_token_logits(model, prompt)
    adapter = _next_token_logits(model, prompt)
    tokens = sorted({*base.topk(TOP).indices.tolist(), *adapter.topk(TOP).indices.tolist()})
    return {
        "prompt_token_ids": list(prompt),
        "token_ids": list(tokens),
        "base_logits": base[tokens].tolist(),
        "adapter_logits": adapter[tokens].tolist(),
    }


@torch.no_grad()
def _next_token_logits(model: PeftModel, prompt: Sequence[int]) -> Tensor:
    token_ids = torch.tensor([prompt], device=model.device)
    logits: Tensor = model(input_ids=token_ids, use_cache=False).logits[0, -1]
    return logits.float().cpu()
