"""How rows become text: the base's chat template, or a plain one for bases without."""

import json
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from transformers import PreTrainedTokenizerFast

from services.common.bases.text import render_chat
from services.common.errors import DomainError, Reason
from services.trainer.datasets import Conversation, Role

PLAIN_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{{ message['role'] | capitalize }}:\n{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ END_OF_ANSWER }}{% endif %}{{ '\\n\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:\n{% endif %}"
)
"""The template of a base that has none; END_OF_ANSWER stands for the base's end-of-text token, as a literal.

A line break before every content: byte-level tokenizers never merge it with the word that follows, so the prompt's
tokens are the same with and without the answer behind them.
"""


@dataclass(frozen=True, slots=True)
class RenderedRow:
    """A row as text, and where in it the answers are.

    Attributes:
        text: the whole row.
        answers: start and end, in characters, of what is learnt; ends include the end-of-turn text.
    """

    text: str
    answers: tuple[tuple[int, int], ...]


def plain_template(tokenizer: PreTrainedTokenizerFast) -> str:
    """Make the template of a base that has none."""
    return PLAIN_TEMPLATE.replace("END_OF_ANSWER", json.dumps(tokenizer.eos_token or "", ensure_ascii=False))


def render(tokenizer: PreTrainedTokenizerFast, template: str, conversation: Conversation) -> RenderedRow:
    """Render a conversation and find its supervised answers in the text.

    An answer starts where the prompt before it ends, rendered as for generation; it ends where the conversation up to
    it ends, without the white space behind the end-of-turn text. Both are compared as text with the whole row, because
    a template may render an early turn differently once later ones follow.

    Raises:
        DomainError: NOTHING_TO_LEARN; the template refuses the conversation.
    """
    messages = [{"role": str(message.role), "content": message.content} for message in conversation.messages]
    try:
        text = render_chat(tokenizer, template, messages, add_generation_prompt=False)
        spans = [
            _answer_span(tokenizer, template, messages, index, text)
            for index, message in enumerate(conversation.messages)
            if message.role is Role.ASSISTANT and message.supervised
        ]
    except DomainError as error:
        raise DomainError(
            Reason.NOTHING_TO_LEARN, f"{error.message} Change the rows to what the base's template takes."
        ) from error
    return RenderedRow(text, tuple((start, end) for start, end in spans if start < end))


def _answer_span(
    tokenizer: PreTrainedTokenizerFast, template: str, messages: list[dict[str, str]], index: int, text: str
) -> tuple[int, int]:
    prompt = render_chat(tokenizer, template, messages[:index])
    last = index + 1 == len(messages)
    through = text if last else render_chat(tokenizer, template, messages[: index + 1], add_generation_prompt=False)
    end = len(through) if last else common_prefix(through, text)
    return common_prefix(prompt, text), len(text[:end].rstrip())


def common_prefix(first: str, second: str) -> int:
    """Length of the longest common prefix."""
    if second.startswith(first):
        return len(first)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
