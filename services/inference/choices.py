"""The answers to one request: asked for at the same time, told as they come."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final, TypeVar

from services.inference.constraints.vocabulary import Vocabulary
from services.inference.engine.protocol import EngineRequest, FinishReason, TokenEvent, TokenLogprobs
from services.inference.model import (
    Answer,
    Choice,
    GenerationRequest,
    ModelIdentity,
    Piece,
    TokenLikelihood,
    ToldToken,
    Usage,
)
from services.inference.stops import TextStream
from services.inference.tools.kinds import ToolCall, ToolCallDelta
from services.inference.tools.reader import CallReader

T = TypeVar("T")

_EMPTY: Final = Piece("")


def engine_requests(
    request: GenerationRequest, asked: EngineRequest, vocabulary: Vocabulary
) -> tuple[EngineRequest, ...]:
    """One for each answer, each with a seed and a constraint of its own. Blocks while the constraint is compiled.

    Args:
        request: checked by ``check_request``.
        asked: what all have in common.
        vocabulary: of the base.

    Raises:
        DomainError: INVALID_ARGUMENT, BASE_NOT_SUPPORTED.
    """
    matcher = None
    if request.constraint is not None:
        matcher = vocabulary.compile(request.constraint, asked.stop_token_ids)
    seed = asked.sampling.seed
    return tuple(
        replace(
            asked,
            sampling=asked.sampling if seed is None else replace(asked.sampling, seed=seed + index),
            constraint=matcher.copy() if matcher else None,
        )
        for index in range(request.n)
    )


class ChoiceText:
    """One answer on its way from tokens to pieces.

    Attributes:
        count: tokens generated so far.
    """

    def __init__(
        self,
        index: int,
        asked: EngineRequest,
        stream: TextStream,
        vocabulary: Vocabulary,
        reader: CallReader | None = None,
    ) -> None:
        """Begin.

        Args:
            index: of the answer.
            asked: what the engine was asked.
            stream: its text; located where logprobs are asked for.
            vocabulary: of the base; read where logprobs are asked for.
            reader: of calls, where there may be any.
        """
        self.count = 0
        self._index = index
        self._asked = asked
        self._stream = stream
        self._vocabulary = vocabulary
        self._reader = reader
        self._untold: deque[tuple[int, TokenLogprobs]] = deque()

    async def pieces(self, events: AsyncGenerator[TokenEvent, None]) -> AsyncGenerator[Piece, None]:
        """The pieces of what the engine generates, one for each token; the last one says why it is the last."""
        async with aclosing(events):
            async for event in events:
                piece = self._piece(event)
                yield piece
                if piece.finish is not None:
                    return

    def _piece(self, event: TokenEvent) -> Piece:
        self.count += 1
        text = ""
        # What ends an answer is no part of it, unless it completed what a constraint asks for.
        if event.finish is not FinishReason.STOP or event.token_id not in self._asked.stop_token_ids:
            if event.logprobs is not None:
                self._untold.append((event.token_id, event.logprobs))
            text = self._stream.push(event.token_id)
        finish = FinishReason.STOP if self._stream.stopped else event.finish
        if finish is not None:
            text += self._stream.finish()
        calls: tuple[ToolCallDelta, ...] = ()
        if self._reader is not None:
            text, calls = self._reader.push(text, last=finish is not None)
            if finish is FinishReason.STOP and self._reader.called:
                finish = FinishReason.CALLS
        tokens = tuple(map(self._told, self._stream.take()))
        return Piece(text, finish=finish, index=self._index, tokens=tokens, calls=calls)

    def _told(self, offset: int) -> ToldToken:
        token_id, logprobs = self._untold.popleft()
        picked = self._likelihood(token_id, logprobs.picked)
        return ToldToken(picked, tuple(self._likelihood(*likely) for likely in logprobs.top), offset)

    def _likelihood(self, token_id: int, logprob: float) -> TokenLikelihood:
        return TokenLikelihood(token_id, self._vocabulary.text(token_id), logprob)


async def framed(
    pieces: AsyncGenerator[Piece, None], choices: Sequence[ChoiceText], identity: ModelIdentity, prompt_tokens: int
) -> AsyncGenerator[Piece, None]:
    """Say in the first piece who answers, and in the last one how much it was; leave out those that say nothing."""
    said, unfinished = False, len(choices)
    async with aclosing(pieces):
        async for piece in pieces:
            unfinished -= piece.finish is not None
            if said and piece == replace(_EMPTY, index=piece.index):
                continue
            usage = None if unfinished else Usage(prompt_tokens, sum(choice.count for choice in choices))
            yield replace(piece, identity=None if said else identity, usage=usage)
            said = True


async def interleaved(streams: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    """The items of all streams as they come. Closes all of them at the end, when one fails, and when it is closed."""
    coming = {asyncio.ensure_future(_next(stream)): stream for stream in streams}
    try:
        while coming:
            await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in coming if task.done()]:
                stream = coming[task]
                found = task.result()
                del coming[task]
                if found:
                    coming[asyncio.ensure_future(_next(stream))] = stream
                    yield found[0]
    finally:
        for task in coming:
            task.cancel()
        await asyncio.gather(*coming, return_exceptions=True)
        for stream in streams:
            await stream.aclose()


async def _next(stream: AsyncGenerator[T, None]) -> tuple[T] | None:
    """The next item in a tuple; None at the end."""
    async for item in stream:
        return (item,)
    return None


def joined(pieces: Sequence[Piece]) -> Answer:
    """Whole answers from all of their pieces."""
    first, last = pieces[0], pieces[-1]
    if first.identity is None or last.usage is None:
        raise RuntimeError("a stream of pieces began or ended without what it must carry")
    count = 1 + max(piece.index for piece in pieces)
    choices = (_choice([piece for piece in pieces if piece.index == index]) for index in range(count))
    return Answer(tuple(choices), first.identity, last.usage)


def _choice(pieces: Sequence[Piece]) -> Choice:
    finish = pieces[-1].finish
    if finish is None:
        raise RuntimeError("an answer ended without a reason")
    text = "".join(piece.text for piece in pieces)
    tokens = tuple(token for piece in pieces for token in piece.tokens)
    return Choice(text, finish, tokens, _calls([delta for piece in pieces for delta in piece.calls]))


def _calls(deltas: Sequence[ToolCallDelta]) -> tuple[ToolCall, ...]:
    """Whole calls from all of their pieces; each first piece has the id and the name."""
    return tuple(
        ToolCall(first.id, first.name, "".join(delta.arguments for delta in deltas if delta.index == first.index))
        for first in deltas
        if first.id
    )
