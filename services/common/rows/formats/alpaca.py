"""Alpaca: ``{instruction, input, output}``, optionally ``system`` and ``history`` (pairs of question and answer).

``input`` follows the instruction after a line break; answers in the history are learnt as the output is.
"""

from collections.abc import Iterator

from services.common.rows.formats.fields import RowFields, place
from services.common.rows.model import Conversation, Message, Role
from services.common.rows.parse import kind_of


def read(fields: RowFields) -> Conversation:
    """Read a row."""
    row = fields.row
    system = fields.text(row, "system", required=False)
    history = [turn for pair in _history(fields) for turn in pair] if "history" in row else ()
    extra = fields.text(row, "input", required=False)
    instruction = fields.text(row, "instruction") if extra else fields.answer(row, "instruction")
    question = f"{instruction}\n{extra}" if instruction and extra else instruction + extra
    output = fields.answer(row, "output")
    opening = [Message(Role.SYSTEM, system, supervised=False)] if system else []
    return Conversation((*opening, *history, *_turn(question, output)))


def _turn(question: str, answer: str) -> tuple[Message, Message]:
    return Message(Role.USER, question, supervised=False), Message(Role.ASSISTANT, answer, supervised=True)


def _history(fields: RowFields) -> Iterator[tuple[Message, Message]]:
    history = fields.row.get("history")
    if history is None:
        return
    if not isinstance(history, list) or len(history) > fields.max_messages:
        what = kind_of(history) if not isinstance(history, list) else f"{len(history)} pairs long"
        fields.fault("history", f'"history" is {what}; it must be an array of at most {fields.max_messages} pairs.')
        return
    for index, pair in enumerate(history):
        path = place("history", index)
        if not isinstance(pair, list) or len(pair) != 2:
            fields.fault(path, "Each entry of the history must be an array of two strings: question and answer.")
            continue
        yield _turn(*(_side(fields, text, place(path, side)) for side, text in enumerate(pair)))


def _side(fields: RowFields, value: object, path: str) -> str:
    text = fields.string(value, path)
    if isinstance(value, str) and (not value or value.isspace()):
        fields.blank(path)
    return text
