"""A fingerprint of behaviour: what base and adapter answer to one prompt, so that a server can tell that it loaded both."""

from collections.abc import Iterable, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Final

import torch
from peft import PeftModel
from torch import Tensor

from services.common.errors import DomainError, Reason
from services.common.probe import Probe
from services.trainer.recipe.labelling.labels import LabelledRow

PROMPTS: Final = 8
"""How many prompts are tried; the one on which the adapter shows most is kept."""
TOP: Final = 8
LONGEST_PROMPT: Final = 64

ROUNDING: Final = MappingProxyType({torch.float32: 2**-18, torch.bfloat16: 2**-7, torch.float16: 2**-10})
"""By how much two correct computations of the same logits differ, relative to the largest of them.

In bfloat16 and float16 that is their epsilon, for every value is rounded to it once more at the end; in float32 it is 32
of them, what sums in another order come to through the layers of a base.
"""

MEASURABLE: Final = 4.0
"""How many roundings the adapter must change a logit by: a server has to come within a quarter of the change."""


def probe(model: PeftModel, rows: Sequence[LabelledRow]) -> Probe:
    """Ask base and adapter for the next token after a few short prompts of the data, and keep the most telling one.

    Args:
        model: in evaluation mode; it sees each prompt alone, without padding, as a server computes it.
        rows: that were trained on.

    Returns:
        The logits of the eight likeliest tokens of either.

    Raises:
        DomainError: TRAINING_DIVERGED where the adapter's logits are not finite; ADAPTER_NO_EFFECT where no prompt tells
            adapter and base apart by more than rounding does.
    """
    asked = [_ask(model, prompt) for prompt in islice(_prompts(rows), PROMPTS)]
    best = max(asked, key=lambda found: found.gap)  # the first of equals, so the choice is repeatable
    _require_effect(best, model.dtype)
    return best


def _prompts(rows: Sequence[LabelledRow]) -> Iterable[tuple[int, ...]]:
    """Every prompt once, short ones first.

    Of a long one its end is taken: there an answer begins, which is where the adapter has most to say.
    """
    whole = {tuple(row.token_ids[: row.prompt_length]) for row in rows}
    return sorted({prompt[-LONGEST_PROMPT:] for prompt in whole}, key=lambda prompt: (len(prompt), prompt))


def _ask(model: PeftModel, prompt: tuple[int, ...]) -> Probe:
    with model.disable_adapter():
        base = _next_token_logits(model, prompt)
    adapter = _next_token_logits(model, prompt)
    if not torch.isfinite(adapter).all():
        raise _diverged()
    tokens = sorted({*base.topk(TOP).indices.tolist(), *adapter.topk(TOP).indices.tolist()})
    return Probe(prompt, tuple(tokens), tuple(base[tokens].tolist()), tuple(adapter[tokens].tolist()))


@torch.no_grad()
def _next_token_logits(model: PeftModel, prompt: Sequence[int]) -> Tensor:
    token_ids = torch.tensor([prompt], device=model.device)
    logits: Tensor = model(input_ids=token_ids, use_cache=False).logits[0, -1]
    return logits.float().cpu()


def _require_effect(best: Probe, dtype: torch.dtype) -> None:
    largest = max(map(abs, (*best.base_logits, *best.adapter_logits)))
    least = MEASURABLE * ROUNDING[dtype] * max(1.0, largest)
    if best.gap < least:
        raise DomainError(
            Reason.ADAPTER_NO_EFFECT,
            f"The adapter has learned next to nothing: on the prompts of its own training data it changes no logit by "
            f"more than {best.gap:.2g}, which cannot be told from rounding ({least:.2g}). Train for more epochs or with "
            "a higher learning rate.",
            {"gap": f"{best.gap:.3g}", "least": f"{least:.3g}"},
        )


def _diverged() -> DomainError:
    return DomainError(
        Reason.TRAINING_DIVERGED,
        "Training diverged: with the adapter, the base's logits are not finite. Lower the learning rate.",
    )
