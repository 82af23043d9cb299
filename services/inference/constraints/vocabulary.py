"""The tokens of a base as bytes, as constraints and logprobs need them."""

import threading
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from llguidance import LLTokenizer
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from services.common.errors import DomainError, Reason
from services.inference.constraints.kinds import Constraint
from services.inference.constraints.matcher import Matcher, compile_constraint

_END: Final = "<|tenon-end-of-constrained-text|>"


@dataclass(frozen=True, slots=True)
class _Tokens:
    """llguidance's view of a tokenizer; ``end`` is a token that it has in addition."""

    tokenizer: LLTokenizer
    end: int


class Vocabulary:
    """A base's tokens; read when they are first needed, which takes a second for a hundred thousand. Used by any thread."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, size: int) -> None:
        """Take a tokenizer.

        Args:
            tokenizer: of the base.
            size: ids that the model knows; usually more than the tokenizer has.
        """
        self._tokenizer = tokenizer
        self._size = size
        self._lock = threading.Lock()
        self._read: _Tokens | DomainError | None = None

    def compile(self, constraint: Constraint, stop_token_ids: AbstractSet[int]) -> Matcher:
        """Make a constraint's matcher. Blocks for up to a second, the first time for longer.

        Raises:
            DomainError: INVALID_ARGUMENT naming the constraint's field; BASE_NOT_SUPPORTED.
        """
        tokens = self._tokens()
        if isinstance(tokens, DomainError):
            raise DomainError(tokens.reason, tokens.message)
        return compile_constraint(constraint, tokens.tokenizer, end=tokens.end, stop_token_ids=stop_token_ids)

    def text(self, token_id: int) -> bytes:
        """A token's text in UTF-8, maybe a part of a character; empty for an id that the tokenizer does not have."""
        tokens = self._tokens()
        if self._tokenizer.backend_tokenizer.id_to_token(token_id) is None:
            return b""
        if isinstance(tokens, DomainError):
            return str(self._tokenizer.decode([token_id])).encode()
        return bytes(tokens.tokenizer.decode_bytes([token_id]))

    def _tokens(self) -> _Tokens | DomainError:
        with self._lock:
            if self._read is None:
                self._read = self._make()
            return self._read

    def _make(self) -> _Tokens | DomainError:
        pipeline = Tokenizer.from_str(self._tokenizer.backend_tokenizer.to_str())
        pipeline.add_special_tokens([_END])
        end = int(pipeline.token_to_id(_END) or 0)  # it was just added
        try:
            tokenizer = LLTokenizer(pipeline.to_str(), n_vocab=max(self._size, end + 1), eos_token=[end])
        except ValueError as error:
            return DomainError(
                Reason.BASE_NOT_SUPPORTED,
                f"Constraints cannot be followed with this base's tokenizer ({error}). Leave the constraint out.",
            )
        return _Tokens(tokenizer, end)
