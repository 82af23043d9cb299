"""The use case: a request comes in, the base and adapter it means answer it, piece by piece."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace

from services.inference.bases import BasePool, HostedBase
from services.inference.choices import ChoiceText, engine_requests, framed, interleaved, joined
from services.inference.constraints.kinds import Calls
from services.inference.engine.protocol import EngineRequest
from services.inference.loaded import describe_adapter, describe_base
from services.inference.metrics import InferenceMetrics, MeasuredRequest
from services.inference.model import (
    AdapterVersion,
    Answer,
    GenerationRequest,
    LoadedModel,
    ModelIdentity,
    Piece,
    Target,
)
from services.inference.prompt import check_request, engine_request, with_calls
from services.inference.resolve import Resolver
from services.inference.stops import TextStream
from services.inference.tools.reader import CallReader


class Generator:
    """Answers requests."""

    def __init__(self, resolver: Resolver, bases: BasePool, metrics: InferenceMetrics) -> None:
        """Use these."""
        self._metrics = metrics
        self._resolver = resolver
        self._bases = bases

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Piece, None]:
        """Answer piece by piece; closing the iterator, or cancelling its task, stops the engine within a step.

        Raises:
            DomainError: see Generate in inference.proto.
        """
        with self._metrics.request(request) as measured:
            check_request(request)
            target = await self._resolver.resolve(request.model, request.base_model)
            measured.resolved(target)
            async with AsyncExitStack() as leases:
                hosted = await self._lease(target, leases)
                request = with_calls(request, hosted.text, target.adapter)
                asked = await asyncio.to_thread(_asked, request, hosted, target.adapter)
                measured.read(len(asked[0].token_ids))
                pieces = _pieces(request, asked, hosted, target.identity, measured)
                async with aclosing(pieces):
                    async for piece in pieces:
                        yield piece

    async def answer(self, request: GenerationRequest) -> Answer:
        """Answer as a whole: exactly the pieces of ``stream``, joined."""
        async with aclosing(self.stream(request)) as stream:
            return joined([piece async for piece in stream])

    async def load(self, model: str, base_model: str) -> LoadedModel:
        """Load a model ahead of its first request."""
        target = await self._resolver.resolve(model, base_model)
        async with self._bases.lease(target.base) as hosted:
            if target.adapter is None:
                return describe_base(hosted)
            async with hosted.adapters.lease(target.adapter) as adapter:
                # The same version may have been loaded under another adapter's name.
                return replace(describe_adapter(hosted, adapter), identity=target.identity)

    async def _lease(self, target: Target, leases: AsyncExitStack) -> HostedBase:
        hosted = await leases.enter_async_context(self._bases.lease(target.base))
        if target.adapter is not None:
            await leases.enter_async_context(hosted.adapters.lease(target.adapter))
        return hosted


def _asked(request: GenerationRequest, hosted: HostedBase, adapter: AdapterVersion | None) -> tuple[EngineRequest, ...]:
    """What the engine is asked, once for each answer. Blocks for long prompts and constraints."""
    engine = hosted.engine
    asked = engine_request(
        request, hosted.text, adapter, context=engine.context_length, vocabulary=engine.vocabulary_size
    )
    return engine_requests(request, asked, hosted.vocabulary)


def _pieces(
    request: GenerationRequest,
    asked: Sequence[EngineRequest],
    hosted: HostedBase,
    identity: ModelIdentity,
    measured: MeasuredRequest,
) -> AsyncGenerator[Piece, None]:
    located = request.logprobs is not None
    calls = request.constraint if isinstance(request.constraint, Calls) else None
    kept = {number: marker for marker, number in calls.markers.items()} if calls else {}
    texts = [
        ChoiceText(
            index,
            one,
            TextStream(hosted.text.tokenizer, request.stop, located=located, kept=kept),
            hosted.vocabulary,
            CallReader(calls.notation) if calls else None,
        )
        for index, one in enumerate(asked)
    ]
    streams = [
        text.pieces(measured.events(hosted.engine.generate(one))) for text, one in zip(texts, asked, strict=True)
    ]
    pieces = streams[0] if len(streams) == 1 else interleaved(streams)
    return framed(pieces, texts, identity, len(asked[0].token_ids))
