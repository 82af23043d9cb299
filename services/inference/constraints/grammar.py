"""From a constraint to llguidance's grammar, and from what it says is wrong to a sentence."""

import re
from typing import Any, Final

from llguidance import LLMatcher

from services.inference.constraints.kinds import Calls, Choice, Constraint, JsonObject, JsonSchema, Regex, Unsaid
from services.inference.tools.grammar import calls_grammar

_JSON: Final[Any] = {
    # At most once at each place where JSON allows white space: a model must not go on with it for ever.
    "whitespace_pattern": r"[ \t\r\n]{1,32}",
    # Either would let answers through that the schema does not allow.
    "lenient": False,
    "coerce_one_of": False,
}
_LONGEST: Final = 300
"""Characters of the compiler's words that are passed on."""
_KEYS: Final = re.compile(r"Unimplemented keys: \[(.*)\]", re.DOTALL)


def grammar_of(constraint: Constraint) -> str:
    """A constraint that has no faults, as llguidance reads it.

    Raises:
        ValueError: for JSON that llguidance cannot read.
    """
    match constraint:
        case JsonSchema(text):
            # Options are laid over an object; the schema true says as much as the empty one.
            return LLMatcher.grammar_from_json_schema("{}" if text.strip() == "true" else text, overrides=_JSON)
        case JsonObject():
            return LLMatcher.grammar_from_json_schema('{"type": "object"}', overrides=_JSON)
        case Regex(pattern):
            return LLMatcher.grammar_from_regex(pattern)
        case Choice(texts):
            return LLMatcher.grammar_from_regex("|".join(map(_literally, texts)))
        case Calls(use, notation, markers):
            return calls_grammar(
                notation, use.callable, must_call=use.must_call, single=use.single, markers=markers, options=_JSON
            )
        case Unsaid():
            raise ValueError("a constraint that says nothing has no grammar")


def explanation(constraint: Constraint, words: str) -> str:
    """What a person can do about a grammar that the compiler refuses, in a sentence or two."""
    words = " ".join(words.replace("<non-verbose/>", "").split())[:_LONGEST]
    if not isinstance(constraint, JsonSchema):
        return _other_explanation(constraint, words)
    if keys := _KEYS.search(words):
        names = keys[1].replace('"', "")
        return f"json_schema uses what is not supported here: {names}. Leave it out, or say it with other keywords."
    if words.startswith("Unsatisfiable schema"):
        return f"json_schema contradicts itself, so that nothing fits it: {words.partition(': ')[2] or words}."
    if words.startswith("oneOf"):
        return "json_schema has a oneOf whose alternatives may both fit; only such as exclude each other are supported. Write anyOf."
    if words.startswith("Resource"):
        return f"json_schema refers to another document, which is not fetched: {words}. Put it into $defs."
    return f"json_schema cannot be followed: {words}. Change it, or leave that part out."


def _other_explanation(constraint: Constraint, words: str) -> str:
    if isinstance(constraint, Calls):
        return f"tools cannot be followed: {words}. Send fewer, or with simpler parameters."
    kind = "regex" if isinstance(constraint, Regex) else "choice"
    return f"{kind} cannot be followed: {_regex_words(words)}. Change it; the syntax is that of Rust's regex crate."


def _regex_words(words: str) -> str:
    """Without the grammar that the expression was put into."""
    return words.partition("(in regex): ")[2].partition(" 1 | start:")[0] or words


def _literally(text: str) -> str:
    return "".join(char if char.isascii() and char.isalnum() else f"\\x{{{ord(char):x}}}" for char in text)
