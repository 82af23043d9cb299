"""Which modules an adapter changes: PEFT's own rules, without PEFT.

After ``check_target_module_exists``, ``get_pattern_key`` and ``_set_trainable`` of PEFT 0.21; tests hold the two together.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from services.common.admission.expressions import Expression, compile_expression
from services.common.admission.model import ALL_LINEAR, AdapterConfig
from services.common.errors import DomainError, Reason
from services.common.identity import LinearModule

__all__ = ["OUTPUTS", "Matcher"]

MAX_STEPS: Final = 100_000_000
"""Ways to match, over all modules and expressions: some seconds at worst, and milliseconds in practice."""
OUTPUTS: Final = frozenset({"lm_head", "embed_out"})
"""Last names of output matrices, which ``all-linear`` leaves out."""

Patterns = Sequence[tuple[Expression, float]]


class Matcher:
    """The rules of one configuration, compiled once."""

    def __init__(self, config: AdapterConfig) -> None:
        """Compile every expression of a configuration.

        Raises:
            DomainError: ADAPTER_CONFIG_INVALID where one is malformed, ADAPTER_NOT_SUPPORTED where matching it cannot be
                bounded.
        """
        self._config = config
        self._all_linear = isinstance(config.target_modules, str) and config.target_modules.lower() == ALL_LINEAR
        self._targets = None if self._all_linear else _Names(config.target_modules)
        self._excluded = _Names(config.exclude_modules or [])
        self._saved = tuple(config.modules_to_save or ())
        self._beside_saved = [compile_expression(name, r"(^|.*\.){}($|\..*)".format) for name in self._saved]
        self._ranks = _patterns(config.rank_pattern)
        self._alphas = _patterns(config.alpha_pattern)
        self._layers = _layers(config)
        self._layer_expressions = _layer_expressions(config)

    def check_work(self, modules: Collection[str]) -> None:
        """Bound what matching all these names may take.

        Raises:
            DomainError: LIMIT_EXCEEDED.
        """
        expressions = [
            *self._beside_saved,
            *self._layer_expressions,
            *(expression for expression, _ in (*self._ranks, *self._alphas)),
            *(names.expression for names in (self._targets, self._excluded) if names and names.expression),
        ]
        steps = sum(expression.steps(len(name)) for expression in expressions for name in modules)
        if steps > MAX_STEPS:
            raise DomainError(
                Reason.LIMIT_EXCEEDED,
                "The expressions in adapter_config.json would take too long to match against the base's modules. "
                "List the modules by name.",
            )

    def targets(self, module: LinearModule) -> bool:
        """Whether PEFT puts LoRA on this module."""
        name = module.name
        if self._excluded.match(name) or any(saved.pattern.match(name) for saved in self._beside_saved):
            return False
        if self._targets is None:
            return module.kind in {"Linear", "Conv1D"} and name.rpartition(".")[2] not in OUTPUTS
        if self._targets.names_exactly(name):
            return True
        return self._targets.match(name) and (self._layers is None or self._layer(name) in self._layers)

    def replaces(self, name: str) -> bool:
        """Whether PEFT replaces this module as a whole."""
        return name.endswith(self._saved) if self._saved else False

    def rank(self, name: str) -> int:
        """The rank of a module's part."""
        return int(_first(self._ranks, name, self._config.r))

    def scaling(self, name: str) -> float:
        """The factor of a module's part."""
        alpha, rank = _first(self._alphas, name, self._config.lora_alpha), self.rank(name)
        return alpha / math.sqrt(rank) if self._config.use_rslora else alpha / rank

    def without_module(self, names: Sequence[str]) -> list[str]:
        """Listed targets and replaced modules that none of these modules answers to."""
        known = {ending for name in names for ending in _endings(name)}
        targets = [] if isinstance(self._config.target_modules, str) else self._config.target_modules
        return [
            *(target for target in targets if target not in known),
            *(saved for saved in self._saved if not any(name.endswith(saved) for name in names)),
        ]

    def _layer(self, name: str) -> int | None:
        """The number of the layer a module is in: the first that an expression finds."""
        matches = (expression.pattern.match(name) for expression in self._layer_expressions)
        match = next(filter(None, matches), None)
        number = match["idx"] if match else None
        return None if number is None else int(number)


class _Names:
    """Names and endings of names, or one expression for the whole name."""

    def __init__(self, stated: Sequence[str] | str) -> None:
        self.expression = compile_expression(stated) if isinstance(stated, str) else None
        self._listed = frozenset() if isinstance(stated, str) else frozenset(stated)

    def names_exactly(self, name: str) -> bool:
        return name in self._listed

    def match(self, name: str) -> bool:
        if self.expression is not None:
            return self.expression.pattern.fullmatch(name) is not None
        return any(ending in self._listed for ending in _endings(name))


def _endings(name: str) -> Iterator[str]:
    """A name, and what is left of it after each dot."""
    yield name
    while name:
        _, _, name = name.partition(".")
        yield name


def _patterns(stated: Mapping[str, float]) -> Patterns:
    return [(compile_expression(key, r"(.*\.)?({})$".format), value) for key, value in stated.items()]


def _first(patterns: Patterns, name: str, default: float) -> float:
    return next((value for expression, value in patterns if expression.pattern.match(name)), default)


def _layers(config: AdapterConfig) -> frozenset[int] | None:
    stated = config.layers_to_transform
    if isinstance(stated, int):
        return frozenset({stated})
    return frozenset(stated) if stated else None


def _layer_expressions(config: AdapterConfig) -> list[Expression]:
    stated = [config.layers_pattern] if isinstance(config.layers_pattern, str) else config.layers_pattern
    if not stated or stated == [""]:
        return [compile_expression(r".*?\.[^.]*\.(?P<idx>\d+)\.")]
    return [compile_expression(pattern, r"(?:^|.*?\.){}\.(?P<idx>\d+)\.".format) for pattern in stated]
