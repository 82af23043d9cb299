"""Constraints: which are refused and why, and what a matcher lets through."""

import json
import random
import time
from collections.abc import Set as AbstractSet
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from services.common.errors import DomainError, Reason
from services.inference.constraints.faults import constraint_faults
from services.inference.constraints.kinds import Choice, Constraint, JsonObject, JsonSchema, Regex, Unsaid, field_of
from services.inference.constraints.matcher import Matcher
from services.inference.constraints.repetitions import written_out
from tests.unit.inference.tokens import END, SIZE, byte_level, vocabulary, wrapped

TOKENIZER = byte_level(("t", "r"), ("tr", "u"), ('"', ":"))
VOCABULARY = vocabulary(TOKENIZER)
STOP = frozenset({END})


def schema(value: object) -> JsonSchema:
    return JsonSchema(json.dumps(value))


def refusal(constraint: Constraint) -> str:
    """The sentence that a constraint is refused with, for its own field."""
    faults = constraint_faults(constraint)
    if not faults:
        with pytest.raises(DomainError) as caught:
            VOCABULARY.compile(constraint, STOP)
        assert caught.value.reason is Reason.INVALID_ARGUMENT
        faults = list(caught.value.violations)
    assert [fault.field for fault in faults] == [field_of(constraint)]
    return faults[0].description


def allowed(matcher: Matcher, size: int = SIZE) -> set[int]:
    mask = torch.full((-(-size // 32),), -1, dtype=torch.int32)
    matcher.allow(mask)
    return {token for token in range(32 * len(mask)) if int(mask[token // 32]) >> (token % 32) & 1}


def after(constraint: Constraint, text: str, stop: AbstractSet[int] = STOP) -> Matcher:
    """A matcher that has followed a text."""
    matcher = VOCABULARY.compile(constraint, stop)
    for token in TOKENIZER.encode(text):
        assert token in allowed(matcher), text
        matcher.accept(token)
    return matcher


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ('{"minimum": NaN}', "NaN is no number of JSON"),
        ("[]", "is a list"),
        ("null", "is null"),
        ("5", "is a number"),
        ("false", "nothing fits"),
        ({"type": "strin"}, "Invalid type: strin"),
        ({"type": "object", "required": "a"}, "Expected array for 'required'"),
        ({"type": "string", "minLength": 5, "maxLength": 2}, "contradicts itself"),
        ({"allOf": [{"type": "string"}, {"type": "number"}]}, "contradicts itself"),
        ({"type": "integer", "minimum": 2, "maximum": 1}, "contradicts itself"),
        ({"enum": []}, "contradicts itself"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, "contradicts itself"),
        ({"not": {"type": "string"}, "uniqueItems": True}, "not supported here: not, uniqueItems"),
        ({"if": {}, "then": {}}, "not supported here: if, then"),
        ({"items": [{"type": "string"}]}, "prefixItems"),
        ({"exclusiveMinimum": True}, "exclusiveMinimum that is true or false"),
        ({"minProperties": 2}, "minProperties 2"),
        ({"type": "string", "format": "weird"}, "Unknown format: weird"),
        ({"x-guidance": {"lenient": True}}, "x-guidance"),
        ({"oneOf": [{"type": "string"}, {"minLength": 1}]}, "Write anyOf"),
        ({"$ref": "https://example.com/schema.json"}, "not fetched"),
        ({"$ref": "#/$defs/nowhere"}, "does not exist"),
        ({"$ref": "#"}, "Nothing fits"),
        ({"type": "string", "pattern": "("}, "unclosed group"),
        ({"type": "string", "pattern": "(a{1000}){1000}"}, "repetition counts"),
        ({"patternProperties": {"a{1000000}": {}}}, "repetition counts"),
        ({"multipleOf": 123456789}, "multipleOf"),
        ({"allOf": [{"multipleOf": 9973}, {"multipleOf": 9967}]}, "multipleOf"),
        ({"multipleOf": 1e-300}, "multipleOf"),
        ('{"multipleOf": 1e400}', "out of range"),
        ('{"items":' * 200 + "{}" + "}" * 200, "96 levels"),
        ("[" * 60_000, "96 levels"),
        ('{"title": "' + "x" * 65_536 + '"}', "65536"),
    ],
    ids=range(35),
)
def test_schemas_are_refused_with_what_to_do(given: Any, words: str) -> None:
    assert words in refusal(JsonSchema(given) if isinstance(given, str) else schema(given))


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        (Regex(""), "regex is empty"),
        (Regex("("), "unclosed group"),
        (Regex("a{5,2}"), "invalid repetition"),
        (Regex("(?=a)b"), "look-around"),
        (Regex(r"(a)\1"), "backreferences"),
        (Regex("[a-z&&[0-9]]"), "Nothing fits"),
        (Regex("a{1000000}"), "repetition counts"),
        (Regex("((a{100}){100}){100}"), "repetition counts"),
        (Regex("a" * 8193), "8192"),
        (Choice(()), "no texts"),
        (Choice(("a", "")), "index 1"),
        (Choice(("a",) * 1025), "1024"),
        (Choice(("a" * 4097,)), "4096"),
        (Choice(("a" * 4096,) * 17), "65536"),
        (Unsaid(), "says nothing"),
    ],
    ids=range(15),
)
def test_other_constraints_are_refused_with_what_to_do(constraint: Constraint, words: str) -> None:
    assert words in refusal(constraint)


@pytest.mark.parametrize(
    ("pattern", "size"),
    [
        ("abc", 3), ("a{3}", 3), ("(ab){2,5}c", 11), ("(a|bc){10}", 30), ("[a-z{9}]{4}", 4), (r"\x{41}{2}\{9}", 5),
        ("a{2,}", 2), ("((a{10}){10}){10}", 1000), ("a*{7}", 7), ("[]", 1), (")", 1), ("{9}", 0), ("a{" + "9" * 99 + "}", 10**9),
    ],
)  # fmt: skip
def test_repetitions_are_written_out(pattern: str, size: int) -> None:
    assert written_out(pattern) == size


HARD: list[Constraint] = [
    schema({"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(1500)}}),
    schema({"allOf": [{"anyOf": [{"required": [f"{j}{i}"]} for i in range(8)]} for j in range(4)]}),
    schema({"allOf": [{"anyOf": [{"required": [f"{j}{i}"]} for i in range(20)]} for j in range(20)]}),
    schema({"enum": [f"v{i}" for i in range(7000)]}),
    schema({"type": "array", "minItems": 10**6, "items": {"type": "array", "minItems": 10**6}}),
    schema({"properties": {f"p{i}": {"type": "integer", "multipleOf": 9999} for i in range(20)}}),
    schema({"type": "string", "minLength": 10**6}),
    schema({"$ref": "#/$defs/0", "$defs": {str(i): {"allOf": [{"$ref": f"#/$defs/{i + 1}"}] * 9} for i in range(99)}}),
    Regex("(a?){5000}a{5000}"),
    Regex("(.*a.{200}b.*){3}"),
    Regex(r"[\p{L}\p{N}]{16000}"),
    Choice(tuple(f"{i:>60}" for i in range(1024))),
]


@pytest.mark.parametrize("constraint", HARD, ids=range(len(HARD)))
def test_what_is_hard_takes_bounded_time(constraint: Constraint) -> None:
    """Compiling and every step: some are refused, at once or in the middle; none holds others up."""
    began = time.monotonic()
    picks = random.Random(0)
    try:
        assert not constraint_faults(constraint)
        matcher = VOCABULARY.compile(constraint, STOP)
        assert time.monotonic() - began < 5
        for _ in range(200):
            began = time.monotonic()
            choices = sorted(allowed(matcher) - STOP)
            if not choices:
                break
            matcher.accept(picks.choice(choices))
            assert time.monotonic() - began < 1
    except DomainError as error:
        reason = error.reason
    else:
        reason = Reason.INVALID_ARGUMENT
    assert reason in {Reason.INVALID_ARGUMENT, Reason.LIMIT_EXCEEDED}
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("constraint", "text"),
    [
        (Regex("^ab+$"), "abbb"),
        (Regex("(?i)Été"), "éTÉ"),
        (Choice(('a "b"\n/c.*', "你好", "你")), "你好"),
        (Choice(('a "b"\n/c.*', "你好", "你")), 'a "b"\n/c.*'),
        (JsonObject(), '{"a": [1, {"b": null}], "true": "x\\n"}'),
        (JsonSchema("true"), "[[], true]"),
        (schema({"const": "\u0000x"}), '"\\u0000x"'),
        (schema({"type": "array", "items": {"type": "boolean"}}), "[\n  true,\n  false\n]"),
        (schema({"oneOf": [{"const": 1}, {"type": "string"}]}), "1"),
    ],
    ids=range(9),
)
def test_texts_that_fit_may_be_written_and_may_end(constraint: Constraint, text: str) -> None:
    assert not constraint_faults(constraint)
    assert END in allowed(after(constraint, text))


def test_the_end_may_come_where_the_text_may_end_and_nowhere_else() -> None:
    matcher = VOCABULARY.compile(Regex("ab+"), STOP)
    (a,), (b,) = TOKENIZER.encode("a"), TOKENIZER.encode("b")
    assert allowed(matcher) == {a}
    matcher.accept(a)
    assert allowed(matcher) == {b}
    matcher.accept(b)
    assert allowed(matcher) == {b, END}
    assert not matcher.done


def test_done_leaves_nothing_but_the_stop_tokens() -> None:
    matcher = after(Choice(("yes", "yesterday")), "yes", frozenset({END, 300}))
    assert allowed(matcher) == {*TOKENIZER.encode("t"), END, 300}
    assert not matcher.done
    matcher = after(Choice(("yes", "yesterday")), "yesterday", frozenset({END, 300}))
    assert matcher.done
    assert allowed(matcher) == {END, 300}


def test_a_stop_token_is_never_picked_as_text() -> None:
    (b,) = TOKENIZER.encode("b")
    matcher = after(Regex("a[bc]*"), "ac", frozenset({b}))
    assert b in allowed(matcher)  # as the end
    with pytest.raises(DomainError) as caught:
        VOCABULARY.compile(Regex("b+"), frozenset({b}))
    assert "tokens for" in caught.value.message


def test_no_special_token_and_no_id_without_a_token_is_text() -> None:
    matcher = VOCABULARY.compile(Regex("(?s).*"), frozenset())
    assert END not in allowed(matcher)
    assert max(allowed(matcher)) < len(TOKENIZER)
    assert allowed(matcher, 64) <= set(range(64))
    assert not {token for token in allowed(matcher, 4096) if token >= SIZE}


def test_copies_go_their_own_ways() -> None:
    one = after(Regex("a[bc]"), "a")
    other = one.copy()
    one.accept(TOKENIZER.encode("b")[0])
    assert one.done
    assert not other.done
    assert len(allowed(other)) == 2


@pytest.mark.parametrize("seed", range(20))
def test_white_space_does_not_go_on_for_ever(seed: int) -> None:
    """Even for a model that likes nothing better."""
    picks = random.Random(seed)
    blank = {TOKENIZER.encode(text)[0] for text in " \n\t"}
    matcher = VOCABULARY.compile(schema({"type": "array", "items": {"const": 1}, "maxItems": 2}), STOP)
    text: list[int] = []
    while not matcher.done:
        may = allowed(matcher) - STOP
        text.append(picks.choice(sorted(may & blank or may)))
        matcher.accept(text[-1])
        assert len(text) < 250
    assert len(json.loads(str(TOKENIZER.decode(text)))) <= 2


def test_a_tokenizer_whose_text_nobody_knows_takes_no_constraints() -> None:
    words = wrapped(Tokenizer(WordLevel({"a": 0, "b": 1}, unk_token="a")))
    unknown = vocabulary(words)
    with pytest.raises(DomainError) as caught:
        unknown.compile(JsonObject(), STOP)
    assert caught.value.reason is Reason.BASE_NOT_SUPPORTED
    assert (unknown.text(1), unknown.text(2)) == (b"b", b"")


@pytest.mark.parametrize(
    ("token", "text"), [(TOKENIZER.encode("tru")[0], b"tru"), (END, b"<|end|>"), (len(TOKENIZER), b""), (SIZE - 1, b"")]
)
def test_the_text_of_a_token(token: int, text: bytes) -> None:
    assert VOCABULARY.text(token) == text


def test_the_text_of_a_part_of_a_character() -> None:
    tokenizer: PreTrainedTokenizerFast = byte_level()
    assert b"".join(map(vocabulary(tokenizer).text, tokenizer.encode("你"))) == "你".encode()
