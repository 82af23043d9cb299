"""The last question of a row and its answer: where they stand in each format, and the row with others in their place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from services.common.rows.content import Example
from services.common.rows.model import Conversation, DatasetFormat

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """What of a row is reworded, and what is learnt from it.

    Attributes:
        question: the last user turn; of Alpaca's the instruction, whose input stays; a prompt without white space around it.
        answer: to it.
    """

    question: str
    answer: str


def last_turn(fields: Fields, example: Example, layout: DatasetFormat) -> Turn | None:
    """Find the last turn of a good row; None where there is nothing to reword, or where its answer is not learnt."""
    if isinstance(example, Conversation):
        question, answer = example.messages[-2:]
        if not answer.supervised:
            return None
        asked = fields[_alpaca_key(fields)] if layout is DatasetFormat.ALPACA else question.content
        return Turn(asked.strip(), answer.content)
    asked = example.prompt.strip()
    return Turn(asked, example.completion) if asked else None


def rewritten(fields: Fields, layout: DatasetFormat, question: str, answer: str | None) -> dict[str, Any]:
    """Copy a row with another question, and with another answer where one is given."""
    return _REWRITES[layout](fields, question, answer)


def _alpaca_key(fields: Fields) -> str:
    return "instruction" if (fields.get("instruction") or "").strip() else "input"


def _alpaca(fields: Fields, question: str, answer: str | None) -> dict[str, Any]:
    return {**fields, _alpaca_key(fields): question, "output": fields["output"] if answer is None else answer}


def _prompt_completion(fields: Fields, question: str, answer: str | None) -> dict[str, Any]:
    # What stands around them belongs to the form of such rows: "Q: … A:" ends with a blank, or does not.
    completion = fields["completion"] if answer is None else _inside(fields["completion"], answer)
    return {**fields, "prompt": _inside(fields["prompt"], question), "completion": completion}


def _inside(old: str, new: str) -> str:
    text = old.strip()
    start = old.index(text)
    return old[:start] + new + old[start + len(text) :]


def _sharegpt(fields: Fields, question: str, answer: str | None) -> dict[str, Any]:
    return _turns(fields, "conversations", lambda turn: "value" if "from" in turn else "content", question, answer)


def _openai_chat(fields: Fields, question: str, answer: str | None) -> dict[str, Any]:
    return _turns(fields, "messages", lambda _: "content", question, answer)


def _turns(
    fields: Fields, holder: str, key: Callable[[Fields], str], question: str, answer: str | None
) -> dict[str, Any]:
    *before, asked, answered = fields[holder]
    asked = {**asked, key(asked): question}
    if answer is not None:
        answered = {**answered, key(answered): answer}
    return {**fields, holder: [*before, asked, answered]}


_REWRITES: Final[Mapping[DatasetFormat, Callable[[Fields, str, str | None], dict[str, Any]]]] = MappingProxyType(
    {
        DatasetFormat.ALPACA: _alpaca,
        DatasetFormat.SHAREGPT: _sharegpt,
        DatasetFormat.OPENAI_CHAT: _openai_chat,
        DatasetFormat.PROMPT_COMPLETION: _prompt_completion,
    }
)
