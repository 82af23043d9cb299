"""What a caller can ask an answer to look like."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.inference.tools.kinds import ToolUse
from services.inference.tools.notation import FIELD, Notation


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """JSON that a schema allows; ``text`` is the schema, itself JSON."""

    text: str


@dataclass(frozen=True, slots=True)
class Regex:
    """Text that a regular expression matches as a whole."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few texts."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JsonObject:
    """Any JSON object."""


@dataclass(frozen=True, slots=True)
class Unsaid:
    """A constraint that says nothing; refused."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Text, or calls of functions, or both.

    Attributes:
        use: with functions that may be called.
        notation: how calls are written.
        markers: the notation's markers that are tokens as a whole, with their ids.
    """

    use: ToolUse
    notation: Notation
    markers: Mapping[str, int]


Constraint = JsonSchema | Regex | Choice | JsonObject | Unsaid | Calls


def field_of(constraint: Constraint) -> str:
    """The field of a request that a constraint comes from, as violations name it."""
    match constraint:
        case JsonSchema():
            return "constraint.json_schema"
        case Regex():
            return "constraint.regex"
        case Choice():
            return "constraint.choice"
        case JsonObject():
            return "constraint.json_object"
        case Unsaid():
            return "constraint"
        case Calls():
            return FIELD
