"""The words of a refusal, so that every check says what is wrong in the same voice."""

from collections.abc import Sequence
from typing import Final

from services.common.errors import DomainError, Reason

__all__ = ["CONFIG_FILE", "WEIGHTS_FILE", "config_invalid", "not_supported", "some"]

CONFIG_FILE: Final = "adapter_config.json"
WEIGHTS_FILE: Final = "adapter_model.safetensors"

_SHOWN: Final = 3
_LONGEST: Final = 160


def config_invalid(fault: str) -> DomainError:
    """The error of a configuration that PEFT itself would not have written."""
    return DomainError(
        Reason.ADAPTER_CONFIG_INVALID,
        f"{CONFIG_FILE} cannot be used: {fault}. Restore the file, or save the adapter again with PEFT.",
    )


def not_supported(feature: str, sentence: str) -> DomainError:
    """The error of an adapter that may be right, but is not served.

    Args:
        feature: the option's name, for programs.
        sentence: what the adapter does and what to do instead.
    """
    return DomainError(Reason.ADAPTER_NOT_SUPPORTED, sentence, {"feature": feature})


def some(names: Sequence[str]) -> str:
    """The first few names, fit to be printed, and how many more there are."""
    shown = ", ".join(map(_printable, names[:_SHOWN]))
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def _printable(name: str) -> str:
    """Names come from outside: neither pages of text nor control codes may reach a terminal."""
    short = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…"
    return short if short.isprintable() else repr(short)
