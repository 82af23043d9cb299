"""Which layers get an adapter: found in the model, so that no architecture needs a list of names."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from services.common.errors import DomainError, Reason


@dataclass(frozen=True, slots=True)
class Targets:
    """The layers to adapt.

    Attributes:
        names: last parts of their names, sorted: ``q_proj``.
        excluded: full names of layers that end alike and get none.
        transposed: whether they keep their weights as [in, out] (GPT-2's ``Conv1D``); PEFT's ``fan_in_fan_out``.
    """

    names: tuple[str, ...]
    excluded: tuple[str, ...]
    transposed: bool


def find_targets(model: PreTrainedModel, asked: tuple[str, ...]) -> Targets:
    """Scan a model for linear layers; the LM head, tied or not, and embeddings are never among them.

    Args:
        model: any causal LM of transformers.
        asked: names by their last part, or none for all.

    Raises:
        DomainError: TARGET_MODULES_NOT_FOUND with the names there are.
    """
    head = output_layer(model)
    linear = list(linear_layers(model))
    available = sorted({last_part(name) for name, layer in linear if layer is not head})
    if unknown := [name for name in asked if name not in available]:
        raise DomainError(
            Reason.TARGET_MODULES_NOT_FOUND,
            f"The base has no linear layer named {', '.join(unknown)}. It has: {', '.join(available) or 'none'}.",
            {"missing": ",".join(unknown), "available": ",".join(available)},
        )
    if not available:
        raise DomainError(Reason.TARGET_MODULES_NOT_FOUND, "The base has no linear layer that LoRA can adapt.")
    names = tuple(sorted(set(asked))) or tuple(available)
    chosen = [layer for name, layer in linear if layer is not head and last_part(name) in names]
    excluded = tuple(name for name, layer in linear if layer is head and last_part(name) in names)
    return Targets(names, excluded, transposed=all(isinstance(layer, Conv1D) for layer in chosen))


def output_layer(model: PreTrainedModel) -> nn.Module:
    """The LM head.

    Raises:
        DomainError: BASE_NOT_SUPPORTED; it has none.
    """
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    if not isinstance(head, nn.Module):
        raise DomainError(Reason.BASE_NOT_SUPPORTED, f"{type(model).__name__} has no LM head, so it cannot be trained.")
    return head


def linear_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every linear layer with its full name."""
    return ((name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear | Conv1D))


def last_part(name: str) -> str:
    """``q_proj`` of ``model.layers.0.self_attn.q_proj``."""
    return name.rpartition(".")[2]
