"""What is wrong with a constraint, as far as it can be told without a base."""

from typing import Final

from services.common.errors import Violation
from services.inference.constraints.kinds import (
    Calls,
    Choice,
    Constraint,
    JsonObject,
    JsonSchema,
    Regex,
    Unsaid,
    field_of,
)
from services.inference.constraints.repetitions import written_out
from services.inference.constraints.schema import MAX_PATTERN, schema_fault

MAX_SCHEMA_BYTES: Final = 64 * 1024
MAX_REGEX_BYTES: Final = 8 * 1024
MAX_CHOICES: Final = 1024
MAX_CHOICE_BYTES: Final = 4 * 1024
MAX_CHOICES_BYTES: Final = 64 * 1024
"""Of all choices together."""


def constraint_faults(constraint: Constraint | None) -> list[Violation]:
    """What must be mended, in sentences; none where the compiler has the word. Takes milliseconds."""
    if constraint is None:
        return []
    match constraint:
        case JsonSchema(text):
            fault = _schema_fault(text)
        case Regex(pattern):
            fault = _regex_fault(pattern)
        case Choice(texts):
            fault = _choice_fault(texts)
        case JsonObject() | Calls():
            fault = None
        case Unsaid():
            fault = "constraint says nothing: set json_schema, regex, choice or json_object, or leave it out."
    return [Violation(field_of(constraint), fault)] if fault else []


def _schema_fault(text: str) -> str | None:
    size = len(text.encode())
    if size > MAX_SCHEMA_BYTES:
        return f"json_schema has {size} bytes; at most {MAX_SCHEMA_BYTES} are allowed."
    return schema_fault(text)


def _regex_fault(pattern: str) -> str | None:
    size = len(pattern.encode())
    if not pattern:
        return "regex is empty, so only an empty answer would match. Say what the answer may be, or leave it out."
    if size > MAX_REGEX_BYTES:
        return f"regex has {size} bytes; at most {MAX_REGEX_BYTES} are allowed."
    if written_out(pattern) > MAX_PATTERN:
        return f"regex repeats more than {MAX_PATTERN} characters. Lower its repetition counts."
    return None


def _choice_fault(texts: tuple[str, ...]) -> str | None:
    sizes = [len(text.encode()) for text in texts]
    if not texts:
        return "choice has no texts: send those that the answer may be."
    if len(texts) > MAX_CHOICES:
        return f"choice has {len(texts)} texts; at most {MAX_CHOICES} are allowed."
    if not all(sizes):
        return f"choice has an empty text, the one with index {sizes.index(0)}. Leave it out."
    if max(sizes) > MAX_CHOICE_BYTES:
        return f"A text of choice has {max(sizes)} bytes; at most {MAX_CHOICE_BYTES} are allowed."
    if sum(sizes) > MAX_CHOICES_BYTES:
        return f"The texts of choice have {sum(sizes)} bytes in all; at most {MAX_CHOICES_BYTES} are allowed."
    return None
