"""Tensors that the architecture needs and the files lack, as far as the headers tell.

transformers fills a missing tensor with random numbers and goes on; a base like that is refused instead.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, NoReturn

from services.common.errors import DomainError, Reason
from services.common.identity.components import AUDIO_TOWER, VISION_TOWER, component_of
from services.common.identity.config import architecture_of, ties_output
from services.common.identity.families import Family, family_of

__all__ = ["check_complete"]

LAYER_COUNT_KEYS: Final = ("num_hidden_layers", "n_layer", "n_layers")
STORED_FORMS: Final = (".weight", ".qweight", ".weight_packed", ".blocks")
"""Names under which a module's matrix may be stored; the later ones are quantized."""
SHOWN: Final = 5


def check_complete(config: Mapping[str, Any], names: Iterable[str]) -> None:
    """Hold the tensor names against what config.json announces.

    Raises:
        DomainError: BASE_FILES_INCONSISTENT, naming the first tensors or the component that is missing.
    """
    present = frozenset(names)
    _check_towers(config, present)
    family = family_of(config)
    if family is not None:
        _check_family(config, family, present)


def _check_towers(config: Mapping[str, Any], present: AbstractSet[str]) -> None:
    if not str(architecture_of(config)).endswith("ForConditionalGeneration"):
        return
    components = {component_of(name) for name in present}
    for key, component in (("vision_config", VISION_TOWER), ("audio_config", AUDIO_TOWER)):
        if isinstance(config.get(key), dict) and component not in components:
            _refuse(f"config.json describes a {component} ({key}), but the weights hold no tensor of one")


def _check_family(config: Mapping[str, Any], family: Family, present: AbstractSet[str]) -> None:
    prefix = "" if not any(name.startswith(f"{family.prefix}.") for name in present) else f"{family.prefix}."
    layers = _layers(present, f"{prefix}{family.stack}")
    _check_count(config, layers, f"{prefix}{family.stack}")
    missing = [prefix + name for name in family.beside if not _has(present, prefix + name)]
    missing += [
        f"{prefix}{family.stack}.{index}.{name}"
        for index, found in sorted(layers.items())
        for name in _needed(config, family)
        if not _has(found, name)
    ]
    if _is_head(config) and not ties_output(config) and not _has(present, family.output):
        missing.append(family.output)
    if missing:
        _refuse_missing(missing)
    if family.uniform:
        _check_uniform(layers, f"{prefix}{family.stack}")


def _layers(present: AbstractSet[str], stack: str) -> dict[int, set[str]]:
    pattern = re.compile(re.escape(stack) + r"\.(0|[1-9][0-9]{0,5})\.(.+)", re.DOTALL)
    layers: defaultdict[int, set[str]] = defaultdict(set)
    for name in present:
        if match := pattern.fullmatch(name):
            layers[int(match[1])].add(match[2])
    return dict(layers)


def _check_count(config: Mapping[str, Any], layers: Mapping[int, AbstractSet[str]], stack: str) -> None:
    announced = next((config[key] for key in LAYER_COUNT_KEYS if isinstance(config.get(key), int)), None)
    if announced is None:
        return
    if len(layers) != announced or any(index >= announced for index in layers):
        _refuse(f"config.json announces {announced} layers, but the weights hold {len(layers)} of {stack}")


def _check_uniform(layers: Mapping[int, AbstractSet[str]], stack: str) -> None:
    union = set().union(*layers.values())
    missing = [f"{stack}.{index}.{name}" for index, found in sorted(layers.items()) for name in sorted(union - found)]
    if missing:
        _refuse_missing(missing)


def _needed(config: Mapping[str, Any], family: Family) -> tuple[str, ...]:
    names = family.every_layer
    for key, biases in (family.biased or {}).items():
        if config.get(key) is True:
            names += biases
    return names


def _has(present: AbstractSet[str], name: str) -> bool:
    if name in present:
        return True
    stem = name.removesuffix(".weight")
    return stem != name and any(stem + form in present for form in STORED_FORMS)


def _is_head(config: Mapping[str, Any]) -> bool:
    return str(architecture_of(config)).endswith(("ForCausalLM", "LMHeadModel"))


def _refuse_missing(missing: list[str]) -> NoReturn:
    more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
    _refuse(f"the architecture needs tensors that the weights lack: {', '.join(missing[:SHOWN])}{more}")


def _refuse(fault: str) -> NoReturn:
    raise DomainError(
        Reason.BASE_FILES_INCONSISTENT, f"The base is not complete: {fault}. Download it again, with all its files."
    )
