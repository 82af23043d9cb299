"""What a caller says about functions, and what a model says about them."""

import enum
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Tool:
    """A function.

    Attributes:
        name: letters, digits, ``_`` and ``-``.
        description: for the model; may be empty.
        parameters: JSON schema of its arguments, itself JSON.
    """

    name: str
    description: str
    parameters: str


class Mode(enum.Enum):
    """Whether functions are called."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class ToolUse:
    """The functions of a request.

    Attributes:
        tools: all of them; none is said of no function.
        choice: a mode, or the name of the one that is called.
        single: at most one call in an answer.
    """

    tools: tuple[Tool, ...] = ()
    choice: Mode | str = Mode.AUTO
    single: bool = False

    @property
    def shown(self) -> tuple[Tool, ...]:
        """Those that the model is shown."""
        return () if self.choice is Mode.NONE else self.tools

    @property
    def callable(self) -> tuple[Tool, ...]:
        """Those that it may call."""
        return tuple(tool for tool in self.shown if isinstance(self.choice, Mode) or tool.name == self.choice)

    @property
    def must_call(self) -> bool:
        """Whether it calls one for certain."""
        return self.choice not in {Mode.AUTO, Mode.NONE}


NO_TOOLS: Final = ToolUse()


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call.

    Attributes:
        id: what its answer refers to.
        name: of the function.
        arguments: JSON.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a call.

    Attributes:
        index: which call of the answer.
        arguments: the next piece of them.
        id: in a call's first piece only.
        name: in a call's first piece only.
    """

    index: int
    arguments: str
    id: str = ""
    name: str = ""
