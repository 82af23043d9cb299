"""Which layers get an adapter: found in the model, so that no architecture needs a list of names."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from services.common.errors import DomainError, Reason
from services.trainer.recipe.model.patterns import assign, matches, without_match
from services.trainer.recipe.protocol import RecipeHyperparameters


@dataclass(frozen=True, slots=True)
class Targets:
    """The layers to adapt.

    Attributes:
        names: what they are called by: patterns as asked for, else last parts of names, sorted.
        layers: their full names.
        excluded: full names of layers that are called alike and get none.
        transposed: whether they keep their weights as [in, out] (GPT-2's ``Conv1D``); PEFT's ``fan_in_fan_out``.
        ranks: by full name, where it is not the adapter's.
        alphas: the same.
        saved: full names of modules that are trained as a whole.
    """

    names: tuple[str, ...]
    layers: tuple[str, ...]
    excluded: tuple[str, ...]
    transposed: bool
    ranks: Mapping[str, int] = field(default_factory=dict)
    alphas: Mapping[str, float] = field(default_factory=dict)
    saved: tuple[str, ...] = ()


def find_targets(model: PreTrainedModel, asked: RecipeHyperparameters) -> Targets:
    """Scan a model for linear layers; the LM head, tied or not, and embeddings are never among them.

    Args:
        model: any causal LM of transformers.
        asked: its target_modules (none: all), rank_pattern, alpha_pattern and modules_to_save count here.

    Raises:
        DomainError: TARGET_MODULES_NOT_FOUND with the names there are; INVALID_ARGUMENT where two patterns of ranks or alphas
            disagree.
    """
    head = output_layer(model)
    linear = dict(linear_layers(model))
    saved = _saved(model, asked.modules_to_save)
    offered = {name: layer for name, layer in linear.items() if layer is not head}
    _require("linear layer", asked.target_modules, offered)
    names = tuple(sorted(set(asked.target_modules))) or tuple(sorted({last_part(name) for name in offered}))
    called = [name for name in linear if any(matches(pattern, name) for pattern in names)]
    chosen = [name for name in called if name in offered and not _is_within(name, saved)]
    if not chosen:
        raise DomainError(
            Reason.TARGET_MODULES_NOT_FOUND,
            "Every linear layer is trained as a whole by modules_to_save, and none is left for LoRA."
            if called
            else "The base has no linear layer that LoRA can adapt.",
        )
    for patterns in (asked.rank_pattern, asked.alpha_pattern):
        _require("adapted layer", patterns, chosen)
    return Targets(
        names,
        tuple(chosen),
        excluded=tuple(name for name in called if name not in offered),
        transposed=all(isinstance(linear[name], Conv1D) for name in chosen),
        ranks=assign(asked.rank_pattern, chosen, "hyperparameters.rank_pattern"),
        alphas=assign(asked.alpha_pattern, chosen, "hyperparameters.alpha_pattern"),
        saved=saved,
    )


def _saved(model: PreTrainedModel, patterns: Iterable[str]) -> tuple[str, ...]:
    """Modules to train as a whole: linear layers, the head and embeddings, which is what is served."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D | nn.Embedding)]
    _require("linear or embedding module", patterns, names)
    return tuple(name for name in names if any(matches(pattern, name) for pattern in patterns))


def _is_within(name: str, modules: Iterable[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _require(kind: str, patterns: Iterable[str], names: Iterable[str]) -> None:
    """Refuse patterns that match nothing.

    Raises:
        DomainError: TARGET_MODULES_NOT_FOUND.
    """
    known = list(names)
    if not (unknown := without_match(patterns, known)):
        return
    available = sorted({last_part(name) for name in known})
    raise DomainError(
        Reason.TARGET_MODULES_NOT_FOUND,
        f"The base has no {kind} named {', '.join(unknown)}. It has: {', '.join(available) or 'none'}.",
        {"missing": ",".join(unknown), "available": ",".join(available)},
    )


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
