"""One module per row format; ``FORMATS`` is the table of them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from services.common.rows.content import SOURCE_KEY
from services.common.rows.formats import alpaca, openai_chat, prompt_completion, sharegpt
from services.common.rows.formats.fields import RowFields
from services.common.rows.model import Conversation, DatasetFormat, TextPair

__all__ = ["FORMATS", "KNOWN_KEYS", "LAYOUTS", "LAYOUT_OF", "TITLES", "detect", "marks"]

RowReader = Callable[[RowFields], Conversation | TextPair | None]

FORMATS: Final[Mapping[DatasetFormat, RowReader]] = MappingProxyType(
    {
        DatasetFormat.OPENAI_CHAT: openai_chat.read,
        DatasetFormat.SHAREGPT: sharegpt.read,
        DatasetFormat.ALPACA: alpaca.read,
        DatasetFormat.PROMPT_COMPLETION: prompt_completion.read,
    }
)
"""How each format's rows are read."""

TITLES: Final[Mapping[DatasetFormat, str]] = MappingProxyType(
    {
        DatasetFormat.OPENAI_CHAT: "OpenAI chat",
        DatasetFormat.SHAREGPT: "ShareGPT",
        DatasetFormat.ALPACA: "Alpaca",
        DatasetFormat.PROMPT_COMPLETION: "prompt/completion",
    }
)
"""What people call them."""

# In this order: a chat row may well carry an "output" of some other tool, an Alpaca row carries no "messages".
_MARKS: Final = (
    ("messages", DatasetFormat.OPENAI_CHAT),
    ("conversations", DatasetFormat.SHAREGPT),
    ("instruction", DatasetFormat.ALPACA),
    ("completion", DatasetFormat.PROMPT_COMPLETION),
    ("output", DatasetFormat.ALPACA),
    ("prompt", DatasetFormat.PROMPT_COMPLETION),
)


_BESIDE: Final = {"system", "history", "input", "tools", "functions", SOURCE_KEY}

KNOWN_KEYS: Final = frozenset(_BESIDE.union(key for key, _ in _MARKS))
"""The keys of a row that any format reads, or refuses."""

LAYOUT_OF: Final[Mapping[DatasetFormat, str]] = MappingProxyType(
    {
        DatasetFormat.ALPACA: '"instruction", "input", "output" (Alpaca)',
        DatasetFormat.SHAREGPT: '"conversations" (ShareGPT)',
        DatasetFormat.OPENAI_CHAT: '"messages" (OpenAI chat)',
        DatasetFormat.PROMPT_COMPLETION: '"prompt", "completion"',
    }
)
"""What a row of each format holds, for error texts."""

LAYOUTS: Final = " or ".join(LAYOUT_OF.values())


def detect(row: Mapping[str, Any]) -> DatasetFormat | None:
    """Tell a row's format by its keys, or None."""
    return next((layout for key, layout in _MARKS if key in row), None)


def marks(layout: DatasetFormat) -> frozenset[str]:
    """The keys of a format: a row with none of them is not worth reading in it."""
    return frozenset(key for key, of in _MARKS if of is layout)
