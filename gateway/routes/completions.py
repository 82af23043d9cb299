"""``/v1/completions``."""

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from gateway.generation import Head, generate, stream
from gateway.mapping.generation import completion_request, finish_reason, identity, usage
from gateway.mapping.logprobs import completion_logprobs
from gateway.names import resolve_model
from gateway.schemas.answers import Completion, CompletionChoice, Identity, Usage
from gateway.schemas.generation import CompletionRequest
from gateway.services import ServicesOf
from gateway.sse import DONE, event, event_stream
from tenon.inference.v1 import inference_pb2

router = APIRouter(tags=["Completions"])


@router.post("/v1/completions", response_model=Completion)
async def create_completion(
    body: CompletionRequest, http: Request, services: ServicesOf
) -> Completion | StreamingResponse:
    """Go on with a text, as a whole or, with ``stream``, in pieces."""
    request = completion_request(body, await resolve_model(services, body.model))
    head = Head.new("cmpl", body.model)
    if body.stream:
        pieces = await stream(services, request, http)
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        return event_stream(_events(head, request, pieces, with_usage=with_usage))
    answer = await generate(services, request, http)
    choices = [
        CompletionChoice(
            index=choice.index,
            text=choice.text,
            logprobs=completion_logprobs(request, choice.logprobs),
            finish_reason=finish_reason(choice.finish_reason),
        )
        for choice in answer.choices
    ]
    return _completion(head, identity(answer.identity), choices, usage(answer.usage))


async def _events(
    head: Head,
    request: inference_pb2.GenerateRequest,
    pieces: AsyncIterator[inference_pb2.StreamGenerateResponse],
    *,
    with_usage: bool,
) -> AsyncIterator[str]:
    answerer: Identity | None = None
    async for piece in pieces:
        answerer = answerer or identity(piece.identity)
        choice = CompletionChoice(
            index=piece.choice_index,
            text=piece.text,
            logprobs=completion_logprobs(request, piece.logprobs) if piece.logprobs else None,
            finish_reason=finish_reason(piece.finish_reason) if piece.finish_reason else None,
        )
        yield event(_completion(head, answerer, [choice]).model_dump())
        if with_usage and piece.HasField("usage"):
            yield event(_completion(head, answerer, [], usage(piece.usage)).model_dump())
    yield DONE


def _completion(
    head: Head, answerer: Identity, choices: list[CompletionChoice], counted: Usage | None = None
) -> Completion:
    return Completion(
        id=head.id, created=head.created, model=head.model, choices=choices, usage=counted, tenon=answerer
    )
