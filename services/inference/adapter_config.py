"""adapter_config.json as PEFT writes it, read strictly: what would change the computation in a way unknown here is refused."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from services.common.errors import DomainError, Reason

MAX_CONFIG_BYTES: Final = 1024 * 1024

HARMLESS: Final = frozenset(
    [
        "auto_mapping",  # which classes PEFT wraps
        "base_model_name_or_path",  # the fingerprint decides
        "revision",  # of the same
        "inference_mode",
        "lora_dropout",  # only while training
        "fan_in_fan_out",  # how the base stores its weights; A and B are always stored alike
        "peft_version",
        "task_type",
        "runtime_config",
        "megatron_core",
        "megatron_config",
        "loftq_config",
        "eva_config",
        "corda_config",
        "lora_ga_config",
        "qalora_group_size",  # only with use_qalora
        "ensure_weight_tying",  # only with modules_to_save
    ]
)
"""Fields that do not change what the adapter computes."""

INITIALISATIONS: Final = (True, False, "gaussian", "orthogonal", "eva")
"""How training may have begun. The others (PiSSA, OLoRA, CorDA …) changed the base's weights, too."""


@with_config(ConfigDict(extra="ignore", strict=True, allow_inf_nan=False))
@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """What an adapter declares.

    Attributes:
        r: rank.
        lora_alpha: scale numerator.
        target_modules: names or endings of names, or a regular expression.
        exclude_modules: the same, left out again.
        rank_pattern: other ranks, by pattern of module name.
        alpha_pattern: other alphas, likewise.
        use_rslora: whether the scale is divided by the root of the rank (Kalajdzievski, 2023).
        layers_to_transform: only these layers.
        layers_pattern: name of the layer list, if not the usual one.
    """

    r: Annotated[int, Field(ge=1, le=4096)]
    lora_alpha: float
    target_modules: list[str] | str
    exclude_modules: list[str] | str | None = None
    rank_pattern: Mapping[str, Annotated[int, Field(ge=1, le=4096)]] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    use_rslora: bool = False
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None

    def targets(self, module: str) -> bool:
        """Whether PEFT would put LoRA on this module."""
        return bool(check_target_module_exists(self, module))

    def rank(self, module: str) -> int:
        """The rank of a module's part."""
        return self.rank_pattern.get(get_pattern_key(list(self.rank_pattern), module), self.r)

    def scaling(self, module: str) -> float:
        """The factor of a module's part."""
        alpha = self.alpha_pattern.get(get_pattern_key(list(self.alpha_pattern), module), self.lora_alpha)
        rank = self.rank(module)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank


_ADAPTER: Final = TypeAdapter(AdapterConfig)
_READ: Final = frozenset(AdapterConfig.__dataclass_fields__)
_PLAIN: Final = re.compile(r"\^?[A-Za-z0-9_.\\-]*\$?")
_REPEATS: Final = re.compile(r"[*+{]")
_NESTED: Final = re.compile(r"[*+}]\)+[*+{]|\|[^()]*\)[*+{]")


def parse_config(data: bytes) -> AdapterConfig:
    """Read adapter_config.json.

    Raises:
        DomainError: ADAPTER_INVALID.
    """
    document = _object(data)
    if document.get("peft_type") != "LORA":
        raise invalid(f"its peft_type is {document.get('peft_type')!r}; only LORA is served")
    for key, value in document.items():
        if key not in _READ | HARMLESS | {"peft_type"} and not _is_off(key, value):
            raise invalid(f"adapter_config.json sets {key}, which is not served; train it without")
    try:
        config = _ADAPTER.validate_json(data)
    except ValidationError as error:
        fault = error.errors()[0]
        raise invalid(f"{'.'.join(map(str, fault['loc']))} in adapter_config.json: {fault['msg']}") from None
    _check_patterns(config)
    return config


def invalid(why: str) -> DomainError:
    """The error of an adapter that cannot be used."""
    return DomainError(Reason.ADAPTER_INVALID, f"The adapter cannot be used: {why}.")


def _object(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise invalid("adapter_config.json is not JSON") from None
    if not isinstance(document, dict):
        raise invalid("adapter_config.json is not a JSON object")
    return document


def _is_off(key: str, value: object) -> bool:
    """PEFT writes every option it knows; those that are off say so by being empty."""
    if key == "init_lora_weights":
        return value in INITIALISATIONS
    return not value or (key == "bias" and value == "none")


def _check_patterns(config: AdapterConfig) -> None:
    """Expressions come from outside, and one that backtracks for ever would stop the whole process."""
    for pattern in (config.target_modules, config.exclude_modules):
        if isinstance(pattern, str) and not _is_tame(pattern):
            raise invalid(f"the expression {pattern[:120]!r} is too involved; list the modules by name")
    layers = config.layers_pattern if isinstance(config.layers_pattern, list) else [config.layers_pattern or ""]
    for pattern in (*config.rank_pattern, *config.alpha_pattern, *layers):
        if not _PLAIN.fullmatch(pattern):
            raise invalid(f"the pattern {pattern[:120]!r} is not a plain name; write the module's name")


def _is_tame(pattern: str) -> bool:
    if len(pattern) > 1000 or len(_REPEATS.findall(pattern)) > 3 or _NESTED.search(pattern):
        return False
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return True
