"""Regular expressions from outside, admitted only where matching them is bounded.

An expression that backtracks for ever would stop the whole process. Repeating a group is refused, because nested
repetition is what makes backtracking exponential; of the rest, the number of ways to match is counted beforehand.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from services.common.admission.refusals import CONFIG_FILE, config_invalid, not_supported

__all__ = ["Expression", "compile_expression"]

MAX_CHARACTERS: Final = 1100
"""A thousand for the expression, and what PEFT puts around it."""
MAX_REPEATS: Final = 5
MAX_OPTIONALS: Final = 16
UNBOUNDED: Final = 2**62
_SHOWN: Final = 120

_TOKEN: Final = re.compile(
    r"""(?P<escape>\\.)
      | (?P<set>\[\^?(?:\\.|[^\[\]\\&~|])+\])
      | (?P<open>\((?!\?)|\(\?(?::|=|!|<=|<!|P<\w+>))
      | (?P<close>\))
      | (?P<bar>\|)
      | (?P<repeat>[*+{])
      | (?P<optional>\?)
      | (?P<literal>[^\\\[\]()|*+{?])
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression and what matching it may cost.

    Attributes:
        pattern: compiled.
        repeats: how many parts of it take as many characters as they can get.
        choices: ways through its alternatives and optional parts.
    """

    pattern: re.Pattern[str]
    repeats: int
    choices: int

    def steps(self, length: int) -> int:
        """The most ways a backtracking matcher can try on a text of that many characters."""
        # Repeats follow one another, so that they share the text out: a matter of where the cuts are.
        return self.choices * math.comb(length + self.repeats, self.repeats)


def compile_expression(stated: str, around: Callable[[str], str] = str) -> Expression:
    """Compile an expression.

    Args:
        stated: as adapter_config.json has it.
        around: what PEFT makes of it before matching.

    Raises:
        DomainError: ADAPTER_CONFIG_INVALID where it is malformed, ADAPTER_NOT_SUPPORTED where its matching cannot be
            bounded.
    """
    text = around(stated)
    counted = _count(text)
    if counted is None:
        raise not_supported(
            "expression",
            f"The expression {stated[:_SHOWN]!r} in {CONFIG_FILE} is too involved to be matched in bounded time. List the "
            "modules by name instead.",
        )
    try:
        return Expression(re.compile(text), *counted)
    except (re.error, RecursionError, OverflowError):
        raise config_invalid(f"{stated[:_SHOWN]!r} is not a regular expression") from None


def _count(text: str) -> tuple[int, int] | None:
    """Repeats and choices; None where they cannot be bounded."""
    if len(text) > MAX_CHARACTERS or "--" in text:  # in a set, "--" is reserved
        return None
    kinds = _kinds(text)
    repeats, optionals = kinds.count("repeat"), kinds.count("optional")
    repeated_group = ("close", "repeat") in pairwise(kinds)
    if None in kinds or repeated_group or repeats > MAX_REPEATS or optionals > MAX_OPTIONALS:
        return None
    return repeats, _alternatives(kinds) * 2**optionals


def _kinds(text: str) -> list[str | None]:
    """The kind of every token in order; None ends the list where there is none that is admitted."""
    kinds: list[str | None] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return [*kinds, None]
        kinds.append(match.lastgroup)
        position = match.end()
    return kinds


def _alternatives(kinds: list[str | None]) -> int:
    """Ways through all groups: the product of their numbers of alternatives; where parentheses do not pair, too many."""
    choices, groups = 1, [1]
    for kind in kinds:
        if kind == "open":
            groups.append(1)
        elif kind == "bar":
            groups[-1] += 1
        elif kind == "close":
            choices *= groups.pop()
            if not groups:
                return UNBOUNDED
    return choices * groups[0] if len(groups) == 1 else UNBOUNDED
