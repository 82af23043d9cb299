"""Follows a constraint token by token, with llguidance."""

from collections.abc import Set as AbstractSet
from typing import Final

import numpy as np
import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray

from services.common.errors import DomainError, Reason, Violation
from services.inference.constraints.grammar import explanation, grammar_of
from services.inference.constraints.kinds import Calls, Constraint, JsonSchema, field_of

_LEXER_FUEL: Final = 200_000
"""Of llguidance's units, for the beginning and for each step: some 15 ms of it, which every row of a batch waits for."""
_STEP_ITEMS: Final = 50_000
"""Of the parser, for each step: some 3 ms."""
_LEXER_STATES: Final = 50_000
"""At 1 to 2 KB each."""
_GRAMMAR_SYMBOLS: Final = 200_000
_NOTHING_FITS: Final = "NoExtension"


class Matcher:
    """Implements ``TokenConstraint``. Stop tokens are the request's; as text, such a token is never picked."""

    def __init__(self, matcher: LLMatcher, end: int, stop_token_ids: AbstractSet[int]) -> None:
        """Take over a matcher.

        Args:
            matcher: at the beginning of the text, or anywhere in it.
            end: the token that means the end of the text to the matcher, and nothing to anybody else.
            stop_token_ids: tokens that may come where the text may end, and only there.
        """
        self._matcher = matcher
        self._end = end
        self._stops = np.array(sorted(stop_token_ids), np.int64)
        self._no_text = np.append(self._stops, end)
        self._may_end = False
        self._bits: NDArray[np.uint32] = np.zeros(0, np.uint32)
        self._look()

    def copy(self) -> "Matcher":
        """Another one at the same place, which goes on by itself."""
        return Matcher(self._matcher.deep_copy(), self._end, set(self._stops.tolist()))

    @property
    def possible(self) -> bool:
        """Whether anything may come next, be it the end."""
        return self._may_end or bool(self._bits.any())

    def allow(self, mask: torch.Tensor) -> None:
        """See ``TokenConstraint``."""
        words = mask.numpy().view(np.uint32)
        count = min(len(words), len(self._bits))
        words[:count] = self._bits[:count]
        words[count:] = 0
        if self._may_end:
            stops = self._stops[self._stops < 32 * len(words)]
            np.bitwise_or.at(words, stops // 32, _bit(stops))

    def accept(self, token_id: int) -> None:
        """See ``TokenConstraint``.

        Raises:
            DomainError: LIMIT_EXCEEDED where the text has become too much to follow.
        """
        self._matcher.consume_token(token_id)
        self._look()

    @property
    def done(self) -> bool:
        """See ``TokenConstraint``."""
        return self._may_end and not self._bits.any()

    def _look(self) -> None:
        """Find out what may come next, as text and as the end.

        Raises:
            DomainError: LIMIT_EXCEEDED.
        """
        if self._matcher.is_stopped() and not self._matcher.is_error():
            self._may_end, self._bits = True, np.zeros_like(self._bits)
            return
        self._bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint32).copy()
        # That nothing fits is no failure of the matcher: the mask says it.
        if self._matcher.is_error() and not self._matcher.get_error().startswith(_NOTHING_FITS):
            raise DomainError(
                Reason.LIMIT_EXCEEDED, "The constraint has become too much to follow at this place. Use a simpler one."
            )
        self._may_end = self._matcher.is_accepting()
        ends = self._no_text[self._no_text < 32 * len(self._bits)]
        np.bitwise_and.at(self._bits, ends // 32, ~_bit(ends))


def compile_constraint(
    constraint: Constraint, tokenizer: LLTokenizer, *, end: int, stop_token_ids: AbstractSet[int]
) -> Matcher:
    """Make a constraint's matcher, at the beginning of the text. Blocks for up to a second.

    Args:
        constraint: without ``constraint_faults``.
        tokenizer: of the base.
        end: see ``Matcher``.
        stop_token_ids: see ``Matcher``.

    Raises:
        DomainError: INVALID_ARGUMENT with a violation of the constraint's field.
    """
    limits = LLParserLimits(
        initial_lexer_fuel=_LEXER_FUEL,
        step_lexer_fuel=_LEXER_FUEL,
        step_max_items=_STEP_ITEMS,
        max_lexer_states=_LEXER_STATES,
        max_grammar_size=_GRAMMAR_SYMBOLS,
        verbose_errors=False,
    )
    try:
        matcher = LLMatcher(tokenizer, grammar_of(constraint), log_level=0, limits=limits)
        fault = matcher.get_error() if matcher.is_error() else ""
    except ValueError as error:
        fault = str(error)
    if fault:
        if isinstance(constraint, Calls):
            _check_each(constraint, tokenizer, end)
        raise _refused(constraint, explanation(constraint, fault))
    try:
        first = Matcher(matcher, end, stop_token_ids)
    except DomainError as error:
        raise _refused(constraint, error.message) from None
    if not first.possible:
        raise _refused(constraint, "Nothing fits the constraint, or nothing that the base has tokens for. Change it.")
    return first


def _check_each(calls: Calls, tokenizer: LLTokenizer, end: int) -> None:
    """Find the function whose parameters cannot be followed.

    Raises:
        DomainError: INVALID_ARGUMENT that names it.
    """
    for tool in calls.use.callable:
        try:
            compile_constraint(JsonSchema(tool.parameters), tokenizer, end=end, stop_token_ids=frozenset())
        except DomainError as error:
            field = f"{field_of(calls)}[{calls.use.tools.index(tool)}].parameters_json_schema"
            text = error.message.replace("json_schema", f"parameters of {tool.name}", 1)
            raise DomainError(error.reason, text, violations=[Violation(field, text)]) from None


def _bit(tokens: NDArray[np.int64]) -> NDArray[np.uint32]:
    return np.left_shift(np.uint32(1), (tokens % 32).astype(np.uint32))


def _refused(constraint: Constraint, sentence: str) -> DomainError:
    return DomainError(Reason.INVALID_ARGUMENT, sentence, violations=[Violation(field_of(constraint), sentence)])
