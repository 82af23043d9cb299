"""What was learnt, measured once the last step is done: base and adapter on the same rows, and their answers."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any, Final

import torch
from peft import PeftModel
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from services.common.bases.loader import LoadedBase
from services.common.training_report import (
    MAX_LAYERS,
    LayerChange,
    LossCurve,
    Measured,
    SideBySide,
    TrainingReport,
)
from services.trainer.recipe.labelling.data import Data
from services.trainer.recipe.labelling.labels import IGNORED, LabelledRow
from services.trainer.recipe.reporting.verdict import judge

MEASURED_ROWS: Final = 64
"""Rows of either kind that base and adapter are measured on, evenly spread over all."""

ANSWERS: Final = 4
LONGEST_ANSWER: Final = 48
LONGEST_TEXT: Final = 600


def make_report(model: PeftModel, base: LoadedBase, data: Data, curve: LossCurve, *, forced: bool) -> TrainingReport:
    """Measure a trained adapter.

    Args:
        model: in evaluation mode, after the last step.
        base: for its tokenizer and the tokens that end an answer.
        data: rows that were trained on and, maybe, held-out ones.
        curve: the losses on the way.
        forced: whether the plan was hopeless.
    """
    held_out = _measure(model, _spread(data.validation)) if data.validation else None
    trained = _measure(model, _spread(data.rows))
    ended = sum(row.last_learnt in base.stop_token_ids for row in data.rows) / len(data.rows)
    verdict, reasons = judge(held_out, trained, curve, ended)
    asked = _spread(data.validation or data.rows, ANSWERS)
    return TrainingReport(
        verdict=verdict,
        reasons=reasons,
        held_out=held_out,
        trained=trained,
        curve=curve,
        layers=tuple(_changes(model)),
        end_of_turn_share=ended,
        answers=tuple(_side_by_side(model, base, row) for row in asked),
        forced=forced,
    )


def _spread(rows: Sequence[LabelledRow], most: int = MEASURED_ROWS) -> list[LabelledRow]:
    """As many rows, from all over the data."""
    count = min(most, len(rows))
    return [rows[index * len(rows) // count] for index in range(count)]


def _measure(model: PeftModel, rows: Sequence[LabelledRow]) -> Measured:
    adapter = [_score(model, row) for row in rows]
    with model.disable_adapter():
        base = [_score(model, row) for row in rows]
    tokens = sum(row.supervised for row in rows)
    gains = [(b[0] - a[0]) / row.supervised for a, b, row in zip(adapter, base, rows, strict=True)]
    error = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
    return Measured(
        rows=len(rows),
        tokens=tokens,
        base_loss=sum(loss for loss, _ in base) / tokens,
        adapter_loss=sum(loss for loss, _ in adapter) / tokens,
        base_accuracy=sum(right for _, right in base) / tokens,
        adapter_accuracy=sum(right for _, right in adapter) / tokens,
        error=error,
    )


@torch.no_grad()
def _score(model: PeftModel, row: LabelledRow) -> tuple[float, int]:
    """Summed loss over a row's labels, and how many of them are likeliest."""
    labels = torch.frombuffer(row.labels, dtype=torch.int64)
    places = (labels != IGNORED).nonzero()[:, 0].to(model.device)
    token_ids = torch.frombuffer(row.token_ids, dtype=torch.int64).to(model.device)
    # Logits where there are labels and nowhere else: the head is at work on the token before each.
    logits = model(input_ids=token_ids[None], use_cache=False, logits_to_keep=places - 1).logits[0].float()
    if len(logits) != len(places):  # an architecture that knows no choice of logits
        logits = logits[places - 1]
    targets = token_ids[places]
    loss = cross_entropy(logits, targets, reduction="sum").item()
    return loss, int((logits.argmax(-1) == targets).sum().item())


def _changes(model: PeftModel) -> Iterator[LayerChange]:
    """‖ΔW‖ of every layer, all of its adapted matrices together."""
    changed: dict[str, float] = defaultdict(float)
    was: dict[str, float] = defaultdict(float)
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, ModulesToSaveWrapper):
            weight, change = module.original_module.weight, _replaced_norm(module)
        elif "default" in getattr(module, "lora_A", {}):
            weight, change = module.get_base_layer().weight, _update_norm(module)
        else:
            continue
        changed[_layer(name)] += change**2
        was[_layer(name)] += float(weight.float().norm()) ** 2
    for layer in list(changed)[:MAX_LAYERS]:
        norm = math.sqrt(changed[layer])
        yield LayerChange(layer=layer, norm=norm, relative=norm / max(1e-12, math.sqrt(was[layer])))


@torch.no_grad()
def _update_norm(module: Any) -> float:
    """Frobenius norm of scaling·B·A through small products: ‖BA‖² is the trace of (BᵀB)(AAᵀ). With DoRA, of what W becomes less W."""
    if "default" in getattr(module, "lora_magnitude_vector", {}):
        return _dora_norm(module)
    first, second = module.lora_A["default"].weight.double(), module.lora_B["default"].weight.double()
    squared = ((second.T @ second) * (first @ first.T)).sum()
    return abs(float(module.scaling["default"])) * math.sqrt(max(0.0, float(squared)))


@torch.no_grad()
def _dora_norm(module: Any) -> float:
    weight, delta = module.get_base_layer().weight.float(), module.get_delta_weight("default").float()
    rows = 0 if module.fan_in_fan_out else 1
    whole = weight + delta
    lengths = module.lora_magnitude_vector["default"].weight.float() / whole.norm(dim=rows)
    return float((whole * lengths.unsqueeze(rows) - weight).norm())


@torch.no_grad()
def _replaced_norm(module: ModulesToSaveWrapper) -> float:
    """Of a module that is trained as a whole, its bias included."""
    pairs = zip(module.modules_to_save["default"].parameters(), module.original_module.parameters(), strict=True)
    return math.hypot(*(float((trained.float() - before.float()).norm()) for trained, before in pairs))


def _layer(name: str) -> str:
    """``model.layers.3`` of ``model.layers.3.self_attn.q_proj``; the whole name where no part is a number."""
    parts = name.split(".")
    before = list(takewhile(lambda part: not part.isdigit(), parts))
    return name if len(before) == len(parts) else ".".join(parts[: len(before) + 1])


def _side_by_side(model: PeftModel, base: LoadedBase, row: LabelledRow) -> SideBySide:
    prompt = row.token_ids[: row.prompt_length]
    expected = list(takewhile(lambda label: label != IGNORED, row.labels[row.prompt_length :]))
    with model.disable_adapter():
        alone = _answer(model, prompt, base.stop_token_ids)
    adapted = _answer(model, prompt, base.stop_token_ids)
    return SideBySide(
        prompt=_text(base, prompt)[-LONGEST_TEXT:],
        expected=_text(base, expected)[:LONGEST_TEXT],
        base=_text(base, alone)[:LONGEST_TEXT],
        adapter=_text(base, adapted)[:LONGEST_TEXT],
    )


def _text(base: LoadedBase, token_ids: Iterable[int]) -> str:
    text = str(base.tokenizer.decode(list(token_ids), skip_special_tokens=True))
    # What cuts a character in two leaves half of it.
    return text.encode("utf-8", "replace").decode()


@torch.no_grad()
def _answer(model: nn.Module, prompt: Sequence[int], stop: Sequence[int]) -> list[int]:
    """Go on from a prompt greedily."""
    answer: list[int] = []
    token_ids: Tensor = torch.tensor([list(prompt)], device=model.device)  # type: ignore[arg-type]  # a PeftModel
    cache = None
    while len(answer) < LONGEST_ANSWER:
        out = model(input_ids=token_ids, past_key_values=cache, use_cache=True)
        cache, token = out.past_key_values, int(out.logits[0, -1].argmax())
        if token in stop:
            break
        answer.append(token)
        token_ids = torch.tensor([[token]], device=token_ids.device)
    return answer
