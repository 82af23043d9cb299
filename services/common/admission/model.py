"""What an adapter declares of itself in adapter_config.json."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final

from pydantic import ConfigDict, Field, with_config

__all__ = ["ALL_LINEAR", "MAX_CONFIG_BYTES", "AdapterConfig"]

MAX_CONFIG_BYTES: Final = 1024 * 1024

ALL_LINEAR: Final = "all-linear"
"""PEFT's word for every linear module but the output; it writes the names in its place when it saves."""

Rank = Annotated[int, Field(ge=1, le=4096)]
Alpha = Annotated[float, Field(ge=-1e6, le=1e6)]
Name = Annotated[str, Field(min_length=1, max_length=1024)]
Names = Annotated[list[Name], Field(max_length=8192)]
Layer = Annotated[int, Field(ge=0, le=65536)]


@with_config(ConfigDict(extra="ignore", strict=True, allow_inf_nan=False))
@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """The options that are served.

    Attributes:
        r: rank.
        lora_alpha: scale numerator.
        target_modules: names or endings of names, or a regular expression, or ``all-linear``.
        exclude_modules: the same, left out again.
        modules_to_save: endings of the names of modules that the adapter replaces as a whole.
        rank_pattern: other ranks, by pattern of module name; the first that matches counts.
        alpha_pattern: other alphas, likewise.
        fan_in_fan_out: how the base stores its weights; the base says so itself, and A and B are always stored alike.
        use_rslora: whether the scale is divided by the root of the rank (Kalajdzievski, 2023).
        use_dora: whether each module has a magnitude vector (Liu et al., 2024).
        lora_bias: whether each lora_B has a bias.
        layers_to_transform: only these layers.
        layers_pattern: name of the layer list, if not any.
    """

    r: Rank
    lora_alpha: Alpha
    target_modules: Names | Name
    exclude_modules: Names | Name | None = None
    modules_to_save: Annotated[Names, Field(max_length=256)] | None = None
    rank_pattern: Annotated[Mapping[Name, Rank], Field(max_length=8192)] = field(default_factory=dict)
    alpha_pattern: Annotated[Mapping[Name, Alpha], Field(max_length=8192)] = field(default_factory=dict)
    fan_in_fan_out: bool = False
    use_rslora: bool = False
    use_dora: bool = False
    lora_bias: bool = False
    layers_to_transform: Annotated[list[Layer], Field(max_length=8192)] | Layer | None = None
    layers_pattern: Annotated[Names, Field(max_length=64)] | str | None = None
