"""Several answers at the same time: how their pieces come together, and what happens when one of them fails."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from services.common.errors import DomainError, Reason
from services.inference.choices import ChoiceText, engine_requests, framed, interleaved, joined
from services.inference.constraints.kinds import Regex
from services.inference.engine.protocol import EngineRequest, FinishReason, Sampling, TokenEvent, TokenLogprobs
from services.inference.model import GenerationRequest, ModelIdentity, Piece, Usage
from services.inference.stops import TextStream
from tests.unit.inference.tokens import END, byte_level, vocabulary

TOKENIZER = byte_level()
VOCABULARY = vocabulary(TOKENIZER)
ASKED = EngineRequest((1,), None, 8, frozenset({END}), Sampling(seed=7))
IDENTITY = ModelIdentity("baseModels/b", "f")


class Source:
    """A stream of items that notes how it ended."""

    def __init__(self, *items: object, failing: bool = False, endless: bool = False) -> None:
        self.closed = False
        self._items = items
        self._failing, self._endless = failing, endless

    async def stream(self) -> AsyncGenerator[object, None]:
        try:
            for item in self._items:
                await asyncio.sleep(0)
                yield item
            if self._failing:
                raise DomainError(Reason.QUEUE_FULL, "full")
            if self._endless:
                await asyncio.Event().wait()
        finally:
            self.closed = True


async def test_items_come_as_they_come_and_all_of_them() -> None:
    sources = [Source(1, 2, 3), Source(), Source(4, 5)]
    found = [item async for item in interleaved([source.stream() for source in sources])]
    assert sorted(map(str, found)) == list("12345")
    assert found.index(4) < found.index(3)
    assert all(source.closed for source in sources)


async def test_one_that_fails_ends_all() -> None:
    sources = [Source(1, endless=True), Source(2, failing=True), Source(endless=True)]
    with pytest.raises(DomainError):
        async for _ in interleaved([source.stream() for source in sources]):
            pass
    assert all(source.closed for source in sources)


async def test_a_reader_that_goes_away_ends_all() -> None:
    sources = [Source(1, endless=True), Source(2, endless=True)]
    stream = interleaved([source.stream() for source in sources])
    await anext(stream)
    await stream.aclose()
    assert all(source.closed for source in sources)


async def test_a_reader_that_is_cancelled_ends_all() -> None:
    sources = [Source(endless=True), Source(endless=True)]

    async def read() -> None:
        async for _ in interleaved([source.stream() for source in sources]):
            pass

    task = asyncio.ensure_future(read())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(source.closed for source in sources)


async def _generated(events: list[TokenEvent]) -> AsyncGenerator[TokenEvent, None]:
    for event in events:
        await asyncio.sleep(0)
        yield event


def events_of(text: str, finish: FinishReason, *last: int) -> list[TokenEvent]:
    ids = [*TOKENIZER.encode(text), *last]
    logprobs = TokenLogprobs(-1.0, ((ids[0], -0.5),))
    return [TokenEvent(token, finish if at == len(ids) - 1 else None, logprobs) for at, token in enumerate(ids)]


async def test_pieces_of_several_answers_make_whole_ones() -> None:
    answers = [
        events_of("aあb", FinishReason.LENGTH),
        events_of("hi", FinishReason.STOP, END),
        events_of("done", FinishReason.STOP),
        events_of("x\nUs", FinishReason.LENGTH),
    ]
    texts = [
        ChoiceText(index, ASKED, TextStream(TOKENIZER, ["\nUser"], located=True), VOCABULARY) for index in range(4)
    ]
    streams = [text.pieces(_generated(events)) for text, events in zip(texts, answers, strict=True)]
    pieces = [piece async for piece in framed(interleaved(streams), texts, IDENTITY, 3)]
    assert [bool(piece.identity) for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    assert [bool(piece.usage) for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert sorted(piece.index for piece in pieces if piece.finish) == [0, 1, 2, 3]
    assert all(piece.text or piece.finish or piece.tokens for piece in pieces[1:])
    whole = joined(pieces)
    assert [choice.text for choice in whole.choices] == ["aあb", "hi", "done", "x\nUs"]
    assert whole.usage == Usage(3, sum(map(len, answers)))
    for choice in whole.choices:
        told = b"".join(token.token.text for token in choice.tokens)
        assert told == choice.text.encode()
        assert all(token.token.logprob == -1.0 and token.top[0].logprob == -0.5 for token in choice.tokens)
    assert [token.offset for token in whole.choices[0].tokens] == [0, 1, 1, 1, 2]


def test_each_answer_has_a_seed_and_a_constraint_of_its_own() -> None:
    request = GenerationRequest("b", prompt="x", n=3, constraint=Regex("a[bc]"))
    requests = engine_requests(request, ASKED, VOCABULARY)
    assert [one.sampling.seed for one in requests] == [7, 8, 9]
    first, second, _ = [one.constraint for one in requests]
    assert first is not None
    assert second is not None
    for token in TOKENIZER.encode("ab"):
        first.accept(token)
    assert first.done
    assert not second.done


def test_without_a_seed_none_is_made_up() -> None:
    asked = EngineRequest((1,), None, 8, frozenset())
    assert engine_requests(GenerationRequest("b", prompt="x", n=2), asked, VOCABULARY) == (asked, asked)


def test_an_answer_is_whole_or_an_error() -> None:
    with pytest.raises(RuntimeError):
        joined([Piece("a", IDENTITY)])
