"""A fingerprint of behaviour: what base and adapter answered to one prompt when training ended.

It is part of the adapter's manifest, so that whoever loads both can tell that they compute what they computed then.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

MAX_PROMPT_TOKENS: Final = 512
MAX_TOKENS: Final = 64


@dataclass(frozen=True, slots=True)
class Probe:
    """Next-token logits after a prompt.

    Attributes:
        prompt_token_ids: the prompt.
        token_ids: the likeliest next tokens of base and adapter, each once.
        base_logits: of the base alone, for these tokens, in their order.
        adapter_logits: of the base with the adapter, likewise.
    """

    prompt_token_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    base_logits: tuple[float, ...]
    adapter_logits: tuple[float, ...]

    @property
    def gap(self) -> float:
        """The largest change that the adapter makes to one of the logits."""
        return max(abs(a - b) for a, b in zip(self.adapter_logits, self.base_logits, strict=True))

    def to_json(self) -> dict[str, Any]:
        """As the manifest writes it."""
        return {
            "prompt_token_ids": list(self.prompt_token_ids),
            "token_ids": list(self.token_ids),
            "base_logits": list(self.base_logits),
            "adapter_logits": list(self.adapter_logits),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` gave.

        Raises:
            ValueError: saying what is wrong with it.
        """
        if set(value) != set(cls.__dataclass_fields__):
            raise ValueError(f"its keys are {sorted(value)[:8]}, not {sorted(cls.__dataclass_fields__)}")
        tokens = _token_ids(value["token_ids"], "token_ids", MAX_TOKENS)
        if len(set(tokens)) != len(tokens):
            raise ValueError("token_ids names a token twice")
        return cls(
            _token_ids(value["prompt_token_ids"], "prompt_token_ids", MAX_PROMPT_TOKENS),
            tokens,
            _logits(value["base_logits"], "base_logits", len(tokens)),
            _logits(value["adapter_logits"], "adapter_logits", len(tokens)),
        )


def _token_ids(value: object, field: str, most: int) -> tuple[int, ...]:
    items = value if isinstance(value, list) else []
    if not 0 < len(items) <= most or not all(type(item) is int and 0 <= item < 2**31 for item in items):
        raise ValueError(f"{field} must be 1 to {most} token ids")
    return tuple(items)


def _logits(value: object, field: str, count: int) -> tuple[float, ...]:
    items = value if isinstance(value, list) else []
    # RFC 8785 writes 2.0 as 2, so whole numbers are read as such.
    if len(items) != count or not all(type(item) in {int, float} and math.isfinite(item) for item in items):
        raise ValueError(f"{field} must be {count} numbers, one for each of token_ids")
    return tuple(float(item) for item in items)
