"""The use case: a request comes in, the base and adapter it means answer it, piece by piece."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace

from services.inference.bases import BasePool, HostedBase
from services.inference.engine.protocol import EngineRequest, FinishReason, TokenEvent
from services.inference.loaded import describe_adapter, describe_base
from services.inference.metrics import InferenceMetrics
from services.inference.model import Answer, GenerationRequest, LoadedModel, ModelIdentity, Piece, Target, Usage
from services.inference.prompt import check_request, engine_request
from services.inference.resolve import Resolver
from services.inference.stops import TextStream


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
                asked = await asyncio.to_thread(
                    engine_request,
                    request,
                    hosted.text,
                    target.adapter,
                    context=hosted.engine.context_length,
                    vocabulary=hosted.engine.vocabulary_size,
                )
                measured.read(len(asked.token_ids))
                stream = TextStream(hosted.text.tokenizer, request.stop)
                events = measured.events(hosted.engine.generate(asked))
                async with aclosing(_pieces(events, asked, stream, target)) as pieces:
                    async for piece in pieces:
                        yield piece

    async def answer(self, request: GenerationRequest) -> Answer:
        """Answer as a whole: exactly the pieces of ``stream``, joined."""
        async with aclosing(self.stream(request)) as stream:
            pieces = [piece async for piece in stream]
        first, last = pieces[0], pieces[-1]
        if first.identity is None or last.finish is None or last.usage is None:
            raise RuntimeError("a stream of pieces began or ended without what it must carry")
        return Answer("".join(piece.text for piece in pieces), first.identity, last.finish, last.usage)

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


async def _pieces(
    events: AsyncGenerator[TokenEvent, None], asked: EngineRequest, stream: TextStream, target: Target
) -> AsyncGenerator[Piece, None]:
    identity: ModelIdentity | None = target.identity
    count = 0
    async with aclosing(events):
        async for event in events:
            count += 1
            text = "" if event.finish is FinishReason.STOP else stream.push(event.token_id)
            finish = FinishReason.STOP if stream.stopped else event.finish
            if finish is not None:
                usage = Usage(len(asked.token_ids), count)
                yield Piece(text + stream.finish(), identity, finish, usage)
                return
            if text or identity is not None:
                yield Piece(text, identity)
                identity = None
