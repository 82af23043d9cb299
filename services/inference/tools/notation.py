"""How the chat template of a model writes calls, told from the template's text."""

import re
import secrets
from dataclasses import dataclass
from typing import Final

from transformers import PreTrainedTokenizerFast

from services.common.errors import DomainError, Reason, Violation

FIELD: Final = "conversation.tools"


@dataclass(frozen=True, slots=True)
class Notation:
    """A way to write calls. In each, a call is ``{"name": "f", KEY: {…}}`` with something around it.

    Attributes:
        marker: what text ends at and calls begin with; empty where only an answer's first brace tells a call.
        key: of the arguments.
        opening: between the marker and the calls, as expressions of a Lark grammar.
        after: behind each call, likewise; ``{close}`` is the token of ``closer``.
        between: two calls, likewise; None where there is one alone. ``{open}`` is the marker.
        closing: behind the last call, likewise.
        closer: a second marker, or empty.
        id_length: how long the ids of calls are, or 0 for any.
    """

    marker: str
    key: str
    opening: str = ""
    after: str = ""
    between: str | None = None
    closing: str = ""
    closer: str = ""
    id_length: int = 0

    def new_id(self) -> str:
        """An id for a call."""
        return (
            secrets.token_hex(self.id_length)[: self.id_length] if self.id_length else f"call_{secrets.token_hex(12)}"
        )

    def markers(self, tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
        """The markers that are tokens as a whole, with their ids; the others are spelled."""
        known = {str(token): number for number, token in tokenizer.added_tokens_decoder.items()}
        return {marker: known[marker] for marker in (self.marker, self.closer) if marker in known}


HERMES: Final = Notation(
    "<tool_call>",
    "arguments",
    opening=r'"\n"',
    after=r'"\n" close',
    between=r'"\n" open "\n"',
    closer="</tool_call>",
)
"""Of Hermes, and of Qwen from 2.5 on: each call between tags, on lines of its own."""

LLAMA: Final = Notation("", "parameters")
"""Of Llama from 3.1 on: the answer is a call."""

MISTRAL: Final = Notation("[TOOL_CALLS]", "arguments", opening='" "? "["', between='", "', closing='"]"', id_length=9)
"""Of Mistral up to its third tokenizer: a list; its templates insist on ids of nine letters and digits."""

_CODE: Final = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)
_TOOLS: Final = re.compile(r"\btools\b")


def notation_of(template: str) -> Notation:
    """Tell it from a template.

    Raises:
        DomainError: INVALID_ARGUMENT where the template knows no functions, or no notation that is known here.
    """
    if not any(_TOOLS.search(code) for code in _CODE.findall(template)):
        raise _refused(
            "The chat template of this model knows no tools: it would not show them. Leave tools out, or use a base "
            "whose template has them."
        )
    text = template.replace('\\"', '"')
    if HERMES.marker in text and "<function=" not in text:
        return HERMES
    if MISTRAL.marker in text and "[ARGS]" not in text:
        return MISTRAL
    if '{"name": ' in text and '"parameters": ' in text:
        return LLAMA
    raise _refused(
        "The chat template of this model writes tool calls in a way that is not known here; known are those of Hermes "
        "and Qwen, Llama 3 and Mistral. Leave tools out, or use another base."
    )


def check_calls_can_be_shown(template: str) -> None:
    """See that a conversation with calls in it loses nothing.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    if "tool_calls" not in template:
        text = (
            "The chat template of this model knows no tool calls: it would leave them out of the conversation. Use a "
            "base whose template has them."
        )
        raise DomainError(Reason.INVALID_ARGUMENT, text, violations=[Violation("conversation.messages", text)])


def _refused(text: str) -> DomainError:
    return DomainError(Reason.INVALID_ARGUMENT, text, violations=[Violation(FIELD, text)])
