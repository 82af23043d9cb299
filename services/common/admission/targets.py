"""Which modules an adapter changes: PEFT's own rules, without PEFT.

After ``check_target_module_exists``, ``get_pattern_key`` and ``_set_trainable`` of PEFT 0.21; tests hold the two together.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from services.common.admission.expressions import Search
from services.common.admission.model import ALL_LINEAR, AdapterConfig
from services.common.identity import LinearModule

__all__ = ["OUTPUTS", "Matcher", "check_expressions"]

OUTPUTS: Final = frozenset({"lm_head", "embed_out"})
"""Last names of output matrices, which ``all-linear`` leaves out."""

AROUND_SAVED: Final = r"(^|.*\.){}($|\..*)".format
AROUND_PATTERN: Final = r"(.*\.)?({})$".format
AROUND_LAYERS: Final = r"(?:^|.*?\.){}\.(?P<idx>\d+)\.".format
"""What PEFT puts around a module to save, a key of rank_pattern or alpha_pattern, and a layers_pattern."""
ANY_LAYERS: Final = r".*?\.[^.]*\.(?P<idx>\d+)\."
"""Where there is no layers_pattern."""


class Matcher:
    """The rules of one configuration, applied to the modules of one base."""

    def __init__(self, config: AdapterConfig, names: Iterable[str]) -> None:
        """Match every expression of a configuration against the names of a base's modules.

        Raises:
            DomainError: as ``Search.find``.
        """
        search = Search(names)
        self._config = config
        self._targets = None if _is_all_linear(config) else _Names(config.target_modules, search)
        self._excluded = _Names(config.exclude_modules or [], search)
        self._saved = tuple(config.modules_to_save or ())
        self._beside_saved = frozenset(name for saved in self._saved for name in search.find(saved, AROUND_SAVED))
        self._ranks = _first(config.rank_pattern, names, search)
        self._alphas = _first(config.alpha_pattern, names, search)
        self._layers = _layers(config)
        self._layer_of = {} if self._layers is None else _layer_of(config, search)

    def targets(self, module: LinearModule) -> bool:
        """Whether PEFT puts LoRA on this module."""
        name = module.name
        if self._excluded.match(name) or name in self._beside_saved:
            return False
        if self._targets is None:
            return module.kind in {"Linear", "Conv1D"} and name.rpartition(".")[2] not in OUTPUTS
        if self._targets.names_exactly(name):
            return True
        return self._targets.match(name) and (self._layers is None or self._layer_of.get(name) in self._layers)

    def replaces(self, name: str) -> bool:
        """Whether PEFT replaces this module as a whole."""
        return name.endswith(self._saved) if self._saved else False

    def rank(self, name: str) -> int:
        """The rank of a module's part."""
        return int(self._ranks.get(name, self._config.r))

    def scaling(self, name: str) -> float:
        """The factor of a module's part."""
        alpha, rank = self._alphas.get(name, self._config.lora_alpha), self.rank(name)
        return alpha / math.sqrt(rank) if self._config.use_rslora else alpha / rank

    def without_module(self, names: Sequence[str]) -> list[str]:
        """Listed targets and replaced modules that none of these modules answers to."""
        known = {ending for name in names for ending in _endings(name)}
        targets = [] if isinstance(self._config.target_modules, str) else self._config.target_modules
        return [
            *(target for target in targets if target not in known),
            *(saved for saved in self._saved if not any(name.endswith(saved) for name in names)),
        ]


class _Names:
    """Names and endings of names, or what one expression matches."""

    def __init__(self, stated: Sequence[str] | str, search: Search) -> None:
        self._matched = frozenset(search.find(stated, whole=True)) if isinstance(stated, str) else None
        self._listed = frozenset() if isinstance(stated, str) else frozenset(stated)

    def names_exactly(self, name: str) -> bool:
        return name in self._listed

    def match(self, name: str) -> bool:
        if self._matched is not None:
            return name in self._matched
        return any(ending in self._listed for ending in _endings(name))


def check_expressions(config: AdapterConfig) -> None:
    """Check every expression of a configuration, before there is a base to match it against.

    Raises:
        DomainError: as ``Search.find``.
    """
    Matcher(config, ())


def _endings(name: str) -> Iterator[str]:
    """A name, and what is left of it after each dot."""
    yield name
    while name:
        _, _, name = name.partition(".")
        yield name


def _is_all_linear(config: AdapterConfig) -> bool:
    return isinstance(config.target_modules, str) and config.target_modules.lower() == ALL_LINEAR


def _first(patterns: Mapping[str, float], names: Iterable[str], search: Search) -> dict[str, float]:
    """Each name that a pattern matches, with the value of the first that does."""
    values: dict[str, float] = {}
    left = dict.fromkeys(names)
    for pattern, value in patterns.items():
        for name in search.find(pattern, AROUND_PATTERN, among=left.keys()):
            values[name] = value
            del left[name]
    return values


def _layers(config: AdapterConfig) -> frozenset[int] | None:
    stated = config.layers_to_transform
    if isinstance(stated, int):
        return frozenset({stated})
    return frozenset(stated) if stated else None


def _layer_of(config: AdapterConfig, search: Search) -> dict[str, int]:
    """The number of the layer that a module is in: the first that an expression finds."""
    stated = [config.layers_pattern] if isinstance(config.layers_pattern, str) else config.layers_pattern
    searches: list[tuple[str, Callable[[str], str]]] = [(pattern, AROUND_LAYERS) for pattern in stated or ()]
    if not stated or stated == [""]:
        searches = [(ANY_LAYERS, str)]
    numbers: dict[str, str | None] = {}
    for pattern, around in searches:
        numbers = {**search.find(pattern, around), **numbers}
    return {name: int(number) for name, number in numbers.items() if number is not None}
