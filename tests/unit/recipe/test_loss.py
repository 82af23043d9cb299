"""The loss at supervised positions equals the plain one, in value and gradient, however a batch is cut."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM

from services.trainer.recipe.labelling.labels import IGNORED, LabelledRow
from services.trainer.recipe.model.adapter import attach, trained_parameters
from services.trainer.recipe.model.targets import find_targets, output_layer
from services.trainer.recipe.protocol import RecipeHyperparameters
from services.trainer.recipe.training.batches import PieceLimits, micro_batches
from services.trainer.recipe.training.gradient import accumulate, mean_loss
from services.trainer.recipe.training.loss import SupervisedLoss
from services.trainer.recipe.training.team import Team
from tests.support.tiny_bases import ARCHITECTURES
from tests.unit.recipe.conftest import labelled, make_plan

RELATIVE = 1e-5
GEMMA2 = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "sliding_window": 4,
    # A soft cap low enough to bend the logits: it belongs to the loss, though it comes after the head.
    "final_logit_softcapping": 0.5,
}
SHAPES: Mapping[str, Mapping[str, Any]] = {
    **{name: shape(32, 2, 64) for name, shape in ARCHITECTURES.items()},
    "gemma2": GEMMA2,
}


def build(architecture: str, **asked: Any) -> tuple[Any, SupervisedLoss]:
    """An adapted model whose lora_B is not zero, so that A has a gradient too."""
    config = AutoConfig.for_model(architecture, **SHAPES[architecture])
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    adapted = attach(model, find_targets(model, RecipeHyperparameters(**asked)), make_plan(**asked))
    head = output_layer(model)
    with torch.no_grad():
        for parameter in trained_parameters(adapted):
            parameter.normal_(std=0.1)
    return adapted, SupervisedLoss(adapted, head)


def some_rows() -> list[LabelledRow]:
    generator = torch.Generator().manual_seed(1)
    lengths = [(9, 4), (3, 1), (14, 2), (6, 5), (14, 13)]
    return labelled(
        *((torch.randint(3, 300, (length,), generator=generator).tolist(), start) for length, start in lengths)
    )


def gradient(model: Any) -> torch.Tensor:
    parts = [parameter.grad.flatten().clone() for parameter in trained_parameters(model) if parameter.grad is not None]
    model.zero_grad()
    return torch.cat(parts)


def plain_step(model: Any, rows: list[LabelledRow]) -> tuple[float, torch.Tensor]:
    """Padding, attention mask, all logits, ``ignore_index``: what everybody does."""
    length = max(len(row.token_ids) for row in rows)
    ids = torch.tensor([[*row.token_ids, *[0] * (length - len(row.token_ids))] for row in rows])
    labels = torch.tensor([[*row.labels, *[IGNORED] * (length - len(row.labels))] for row in rows])
    mask = torch.tensor([[1] * len(row.token_ids) + [0] * (length - len(row.token_ids)) for row in rows])
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    loss = cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return loss.item(), gradient(model)


PACKED = sorted({*SHAPES} - {"gemma2"})


@pytest.mark.parametrize("architecture", SHAPES)
@pytest.mark.parametrize("budget", [1, 20, 1000])
def test_loss_and_gradient_of_padded_rows_equal_the_plain_ones(architecture: str, budget: int) -> None:
    model, loss = build(architecture)
    rows = some_rows()
    expected, reference = plain_step(model, rows)
    assert reference.norm() > 0
    pieces = micro_batches(rows, PieceLimits(budget, 100))
    assert len(pieces) == {1: 5, 20: 4, 1000: 1}[budget]
    loss.packs = False
    with loss.ready():
        assert accumulate(loss, pieces, trained_parameters(model), Team(1, 1)) == pytest.approx(expected, rel=RELATIVE)
    assert (gradient(model) - reference).norm() < RELATIVE * reference.norm()


@pytest.mark.parametrize("architecture", SHAPES)
@pytest.mark.parametrize(("budget", "members", "count"), [(1, 1, 5), (20, 2, 4), (1000, 3, 3), (1000, 1, 1)])
def test_loss_and_gradient_of_packed_rows_equal_the_plain_ones(
    architecture: str, budget: int, members: int, count: int
) -> None:
    model, loss = build(architecture)
    assert loss.packs is (architecture in PACKED)
    if not loss.packs:
        return
    rows = some_rows()
    expected, reference = plain_step(model, rows)
    pieces = micro_batches(rows, PieceLimits(budget, 0, packed=True, members=members))
    assert len(pieces) == count
    with loss.ready():
        value = accumulate(loss, pieces, trained_parameters(model), Team(members, 1))
        assert mean_loss(loss, pieces, Team(members, 1)) == pytest.approx(value, rel=RELATIVE)
    assert value == pytest.approx(expected, rel=RELATIVE)
    assert (gradient(model) - reference).norm() < RELATIVE * reference.norm()
    # Outside, the model is what it was.
    again, afterwards = plain_step(model, rows)
    assert again == expected
    assert torch.equal(afterwards, reference)


KINDS: Mapping[str, Mapping[str, Any]] = {
    "DoRA": {"use_dora": True},
    "ranks": {"rank_pattern": {"*proj": 2, "layers.0.*.*": 7}, "alpha_pattern": {"*proj": 3.0, "*.*proj": 5.0}},
    "the head": {"modules_to_save": ("lm_head",)},
    "the embedding": {"modules_to_save": ("embed_tokens",)},
    "a layer": {"modules_to_save": ("layers.1.*.o_proj", "layers.0.*.down_proj")},
}


@pytest.mark.parametrize(
    ("architecture", "kind"), [*product(("qwen2", "llama"), KINDS), ("gpt2", "DoRA"), ("gpt2", "the head")]
)
def test_loss_and_gradient_equal_the_plain_ones_whatever_is_trained(architecture: str, kind: str) -> None:
    asked = KINDS[kind]
    model, loss = build(architecture, **asked)
    trained = trained_parameters(model)
    assert any(
        "modules_to_save" in name for name, parameter in model.named_parameters() if parameter.requires_grad
    ) is ("modules_to_save" in asked)
    rows = some_rows()
    expected, reference = plain_step(model, rows)
    assert loss.packs
    pieces = micro_batches(rows, PieceLimits(20, 0, packed=True, members=2))
    with loss.ready():
        value = accumulate(loss, pieces, trained, Team(2, 1))
    assert value == pytest.approx(expected, rel=RELATIVE)
    assert (gradient(model) - reference).norm() < RELATIVE * reference.norm()


def test_the_head_is_itself_again_afterwards() -> None:
    model, loss = build("qwen2")
    loss.sum(micro_batches(some_rows(), PieceLimits(1000, 100, packed=loss.packs))[0])
    assert model(input_ids=torch.tensor([[5, 6, 7]])).logits.shape == (1, 3, 320)
