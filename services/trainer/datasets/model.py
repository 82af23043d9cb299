"""What a data set is made of, whatever format its file has."""

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
    """A row that is rendered with a chat template: an optional system message, then user and assistant in turn."""

    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class TextPair:
    """A row that is used as it stands: the prompt is read, the completion is learnt. No template is applied."""

    prompt: str
    completion: str


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


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts over a file; the fields of ``tenon.trainer.v1.DatasetStatistics``."""

    row_count: int = 0
    faulty_row_count: int = 0
    duplicate_row_count: int = 0
    answer_count: int = 0
    answer_characters: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """The last item of a check.

    Attributes:
        format: the format given or detected; None where no row told it.
        statistics: counts over the rows.
        fault_count: faults reported, of rows and of the file.
    """

    format: DatasetFormat | None
    statistics: Statistics
    fault_count: int

    @property
    def is_empty(self) -> bool:
        """Whether the file held no row at all, good or faulty."""
        return self.statistics.row_count == 0 and self.statistics.faulty_row_count == 0
