"""What training data is made of, whatever format its file has."""

import enum
from dataclasses import dataclass
from typing import NamedTuple

MIB = 1 << 20


class DatasetFormat(enum.StrEnum):
    """Row layouts that are understood; the names of ``tenon.trainer.v1.DatasetFormat`` in lower case."""

    ALPACA = "alpaca"
    SHAREGPT = "sharegpt"
    OPENAI_CHAT = "openai_chat"
    PROMPT_COMPLETION = "prompt_completion"


class Role(enum.StrEnum):
    """Who speaks in a message; the values are those that chat templates know."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class Message(NamedTuple):
    """One turn of a conversation; a tuple, because a check makes millions of them.

    Attributes:
        role: who speaks.
        content: what is said, exactly as in the file.
        supervised: whether training learns it; only ever true of the assistant.
    """

    role: Role
    content: str
    supervised: bool


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row that is rendered with a chat template: an optional system message, then user and assistant in turn.

    Attributes:
        messages: the turns.
        source: content digest of the row it was made from; None of a row that was not made from another.
    """

    messages: tuple[Message, ...]
    source: bytes | None = None


@dataclass(frozen=True, slots=True)
class TextPair:
    """A row that is used as it stands: the prompt is read, the completion is learnt. No template is applied.

    Attributes:
        prompt: what is read.
        completion: what is learnt.
        source: as a Conversation's.
    """

    prompt: str
    completion: str
    source: bytes | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a file is accepted.

    Attributes:
        max_row_bytes: longest row, in bytes of the file.
        max_messages: most messages in a row.
        max_unpacked_bytes: most bytes of the rows of a Parquet file, once they are unpacked.
    """

    max_row_bytes: int = 8 * MIB
    max_messages: int = 4096
    max_unpacked_bytes: int = 8192 * MIB


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a file.

    Attributes:
        line: line in the file, from 1; in a JSON array the line where the row starts; in Parquet the row's number.
        row: row, from 1; 0 where the fault is the whole file's.
        field: path of the field at fault, ``messages[1].content``; empty where it is the row itself.
        reason: what is wrong and what would be right, as a sentence.
    """

    line: int
    row: int
    field: str
    reason: str
