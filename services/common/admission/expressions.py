"""Regular expressions from outside, matched by RE2: in time that is linear in the text, whatever they are.

PEFT asks Python's ``re``, so they must mean here what they mean there; what does not is refused.
"""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

import re2

from services.common.admission.refusals import CONFIG_FILE, config_invalid, not_supported, some
from services.common.admission.translation import NUMBER, translate
from services.common.errors import DomainError, Reason

__all__ = ["Expression", "Search", "compile_expression"]

MAX_CHARACTERS: Final = 1100
"""A thousand for the expression, and what PEFT puts around it."""
MAX_MEMORY: Final = 256 * 1024
"""Bytes for one expression's program and what RE2 remembers while it matches; re2 keeps 128 of them."""
MAX_STEPS: Final = 2_000_000_000
"""Of one search, ten seconds at worst: a step is 5 ns where RE2 must follow every instruction at every character."""
STEPS_PER_CHARACTER: Final = 1200
"""Of an expression: Python's compiler."""
STEPS_PER_INSTRUCTION: Final = 100
"""RE2's compiler."""
STEPS_PER_MATCH: Final = 200
"""What a match takes beside its characters."""
_SHOWN: Final = 120

_UNREAD: Final = re.compile(r"[^ -~]|\\[xuUN]|\(\?[A-Za-z-]*i|\[\[|--|&&|~~|\|\|")
"""What ``re.compile`` warns of or takes long over: large sets of characters, and what sets may mean one day."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression.

    Attributes:
        pattern: of RE2.
        conditions: what the text must begin with, or must not: RE2's patterns, and which of the two.
    """

    pattern: Any
    conditions: tuple[tuple[Any, bool], ...]

    @property
    def size(self) -> int:
        """Instructions in its programs."""
        return sum(pattern.programsize for pattern in (self.pattern, *(pattern for pattern, _ in self.conditions)))

    def match(self, text: bytes, *, whole: bool = False) -> Any:
        """RE2's match from the beginning of a text (of all of it, if ``whole``), or None."""
        if any((pattern.match(text) is not None) != wanted for pattern, wanted in self.conditions):
            return None
        return self.pattern.fullmatch(text) if whole else self.pattern.match(text)


class Search:
    """Finds the names that expressions match, one expression after another, so that one alone is in memory."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Remember the names; without any, expressions are just checked."""
        self._texts = {name: name.encode() if _is_plain(name) else None for name in names}
        self._steps = 0

    def find(
        self,
        stated: str,
        around: Callable[[str], str] = str,
        *,
        among: Collection[str] | None = None,
        whole: bool = False,
    ) -> dict[str, str | None]:
        """The names that an expression matches, each with the text of the group ``idx``.

        Args:
            stated: as adapter_config.json has it.
            around: what PEFT makes of it before matching.
            among: names to try, if not all.
            whole: whether it must match all of a name, or its beginning.

        Raises:
            DomainError: as ``compile_expression``; ADAPTER_NOT_SUPPORTED where a name is not of printable ASCII;
                LIMIT_EXCEEDED where this search has taken ``MAX_STEPS``.
        """
        texts = self._texts if among is None else {name: self._texts[name] for name in among}
        self._spend(STEPS_PER_CHARACTER * len(stated))
        expression = compile_expression(stated, around)
        size = expression.size
        self._spend(STEPS_PER_INSTRUCTION * size)
        self._spend(sum(size * len(name) + STEPS_PER_MATCH for name in texts))
        numbered = NUMBER.encode() in expression.pattern.groupindex
        found: dict[str, str | None] = {}
        for name, text in texts.items():
            if text is None:
                raise not_supported(
                    "expression",
                    f"{CONFIG_FILE} names modules by the expression {stated[:_SHOWN]!r}, and the base has a module "
                    f"{some([name])}: expressions are served for names of printable ASCII. List the modules by name.",
                )
            if match := expression.match(text, whole=whole):
                number = match[NUMBER.encode()] if numbered else None
                found[name] = number and number.decode()
        return found

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise DomainError(
                Reason.LIMIT_EXCEEDED,
                f"The expressions in {CONFIG_FILE} would take too long to match against the base's modules. Use "
                "fewer or simpler ones.",
            )


def compile_expression(stated: str, around: Callable[[str], str] = str) -> Expression:
    """Compile an expression.

    Args:
        stated: as adapter_config.json has it.
        around: what PEFT makes of it before matching.

    Raises:
        DomainError: ADAPTER_CONFIG_INVALID where Python does not compile it, ADAPTER_NOT_SUPPORTED where RE2 would not
            match what Python does.
    """
    text = around(stated)
    if len(text) > MAX_CHARACTERS or _UNREAD.search(text):
        raise _refused(stated)
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError):
        raise config_invalid(f"{stated[:_SHOWN]!r} is not a regular expression") from None
    translated = translate(text)
    if translated is None:
        raise _refused(stated)
    body, conditions = translated
    try:
        return Expression(_compile(body), tuple((_compile(text), wanted) for text, wanted in conditions))
    except re2.error:  # larger than its memory, or repeated more than a thousand times
        raise _refused(stated) from None


def _is_plain(name: str) -> bool:
    return name != "" and name.isascii() and name.isprintable()


def _refused(stated: str) -> DomainError:
    return not_supported(
        "expression",
        f"The expression {stated[:_SHOWN]!r} in {CONFIG_FILE} is too large, or uses what is not served (look-behind, "
        "look-ahead past its beginning, back-references, flags, escapes by number). List the modules by name instead.",
    )


def _compile(pattern: str) -> Any:
    options = re2.Options()
    options.max_mem = MAX_MEMORY
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1  # one byte is one character: smaller programs
    return re2.compile(pattern.encode("ascii"), options)
