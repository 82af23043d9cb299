"""Constraints over every engine, on random models: what an answer that ends by itself looks like."""

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from transformers import PreTrainedTokenizerFast

from services.common.bases.text import load_text
from services.common.errors import DomainError, Reason
from services.common.identity import open_base
from services.inference.constraints.kinds import Choice, Constraint, JsonObject, JsonSchema, Regex
from services.inference.constraints.vocabulary import Vocabulary
from services.inference.engine.protocol import Engine, EngineRequest, FinishReason, Sampling
from tests.contract.inference.engines import LoadEngine
from tests.support.tiny_bases import VOCABULARY_SIZE

# Constraints are enforced where tokens are picked, which is the same in every engine that batches.
pytestmark = pytest.mark.parametrize("load_engine", ["sequential", "native"], indirect=True)

PROMPT = (40, 50, 60)
STOP = frozenset({2})
SEEDS = range(24)
MERGES = (("t", "r"), ("tr", "u"), ('"', ":"), ("{", '"'), ("f", "a"))

SCHEMAS: list[dict[str, Any]] = [
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 6},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"enum": ["a", "b", None, 1.5]}, "minItems": 1, "maxItems": 3},
        },
        "required": ["name", "age", "tags"],
        "additionalProperties": False,
    },
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
    {"anyOf": [{"const": {"kind": "none"}}, {"type": "number", "minimum": -1, "exclusiveMaximum": 1}]},
    {"type": "string", "pattern": "^[a-c]{2,4}-\\d$"},
    {"type": "string", "maxLength": 5},
    {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {"left": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}},
                "required": ["left"],
                "additionalProperties": False,
            }
        },
    },
    {"type": "integer", "multipleOf": 7, "minimum": -100, "maximum": 1000},
    {"allOf": [{"required": ["a"], "properties": {"a": {"type": "null"}}}, {"maxProperties": 1}], "type": "object"},
]


async def answered(engine: Engine, request: EngineRequest) -> tuple[list[int], FinishReason | None]:
    """Tokens of the text, and why it ended."""
    async with aclosing(engine.generate(request)) as generated:
        events = [event async for event in generated]
    tokens = [event.token_id for event in events]
    return tokens[:-1] if tokens[-1] in STOP else tokens, events[-1].finish


async def texts(
    engine: Engine, base: Path, constraint: Constraint, *, tokens: int = 160, temperature: float = 2.0
) -> list[tuple[str, FinishReason | None]]:
    """Answers for all seeds, asked for at the same time."""
    tokenizer = tokenizer_of(base)
    matcher = Vocabulary(tokenizer, VOCABULARY_SIZE).compile(constraint, STOP)
    requests = [
        EngineRequest(PROMPT, None, tokens, STOP, Sampling(temperature, seed=seed), constraint=matcher.copy())
        for seed in SEEDS
    ]
    found = await asyncio.gather(*(answered(engine, request) for request in requests))
    return [(str(tokenizer.decode(ids)), finish) for ids, finish in found]


def tokenizer_of(base: Path) -> PreTrainedTokenizerFast:
    with open_base(base) as opened:
        return load_text(opened).tokenizer


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
async def test_an_answer_that_ended_by_itself_fits_its_schema(
    schema: dict[str, Any], tiny: Callable[..., Path], load_engine: LoadEngine
) -> None:
    base = tiny(merges=MERGES)
    engine, _ = await load_engine(base)
    validator = Draft202012Validator(schema)
    found = await texts(engine, base, JsonSchema(json.dumps(schema)))
    ended = [text for text, finish in found if finish is FinishReason.STOP]
    assert len(ended) >= len(SEEDS) // 4
    for text in ended:
        validator.validate(json.loads(text))


async def test_a_json_object_is_one(tiny: Callable[..., Path], load_engine: LoadEngine) -> None:
    base = tiny(merges=MERGES)
    engine, _ = await load_engine(base)
    ended = [text for text, finish in await texts(engine, base, JsonObject()) if finish is FinishReason.STOP]
    assert ended
    assert all(isinstance(json.loads(text), dict) for text in ended)


@pytest.mark.parametrize("temperature", [0.0, 2.0])
async def test_a_regex_matches_the_whole_answer(
    temperature: float, tiny: Callable[..., Path], load_engine: LoadEngine
) -> None:
    base = tiny("gpt2")
    engine, _ = await load_engine(base)
    pattern = r"(\+[1-9][0-9]{0,2}|00) ?[0-9]{3,8}(你|好)?"
    for text, finish in await texts(engine, base, Regex(pattern), temperature=temperature):
        assert finish is FinishReason.STOP
        assert re.fullmatch(pattern, text)


async def test_a_choice_is_one_of_the_texts(tiny: Callable[..., Path], load_engine: LoadEngine) -> None:
    base = tiny(merges=MERGES)
    engine, _ = await load_engine(base)
    choices = ("yes", "yesterday", "no\n", "悟空")
    found = await texts(engine, base, Choice(choices))
    assert {finish for _, finish in found} == {FinishReason.STOP}
    answers = {text for text, _ in found}
    assert answers <= set(choices)
    assert len(answers) > 1


async def test_an_answer_cut_off_is_the_beginning_of_one_that_fits(
    tiny: Callable[..., Path], load_engine: LoadEngine
) -> None:
    base = tiny()
    engine, _ = await load_engine(base)
    found = await texts(engine, base, Regex("(ab){20}"), tokens=7)
    assert set(found) == {("abababa", FinishReason.LENGTH)}


async def test_a_constraint_that_cannot_go_on_is_its_own_requests_failure(
    tiny: Callable[..., Path], load_engine: LoadEngine
) -> None:
    """The stop token is the only way to write what must come next."""
    base = tiny()
    engine, _ = await load_engine(base)
    tokenizer = tokenizer_of(base)
    (b,) = tokenizer.encode("b")
    stop = frozenset({b})
    matcher = Vocabulary(tokenizer, VOCABULARY_SIZE).compile(Regex("ab+"), stop)
    stuck = EngineRequest(PROMPT, None, 8, stop, constraint=matcher)
    other = EngineRequest(PROMPT, None, 8, frozenset())
    alone = await answered(engine, other)
    failed, beside = await asyncio.gather(answered(engine, stuck), answered(engine, other), return_exceptions=True)
    assert isinstance(failed, DomainError)
    assert failed.reason is Reason.INVALID_ARGUMENT
    assert beside == alone
