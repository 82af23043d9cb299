"""``/v1/chat/completions``."""

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from gateway.generation import Head, generate, stream
from gateway.mapping.generation import chat_request, finish_reason, identity, usage
from gateway.mapping.logprobs import chat_logprobs
from gateway.mapping.messages import call_pieces, tool_calls
from gateway.names import resolve_model
from gateway.schemas.answers import AnswerMessage, ChatChoice, ChatCompletion, ChatCompletionChunk, ChunkChoice, Delta
from gateway.schemas.answers import Identity as Answerer
from gateway.schemas.generation import ChatRequest
from gateway.services import ServicesOf
from gateway.sse import DONE, event, event_stream
from tenon.inference.v1 import inference_pb2

router = APIRouter(tags=["Chat"])


@router.post("/v1/chat/completions", response_model=ChatCompletion)
async def create_chat_completion(
    body: ChatRequest, http: Request, services: ServicesOf
) -> ChatCompletion | StreamingResponse:
    """Answer a conversation, as a whole or, with ``stream``, in pieces."""
    request = chat_request(body, await resolve_model(services, body.model))
    head = Head.new("chatcmpl", body.model)
    if body.stream:
        pieces = await stream(services, request, http)
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        return event_stream(_events(head, request, pieces, with_usage=with_usage))
    answer = await generate(services, request, http)
    return ChatCompletion(
        id=head.id,
        created=head.created,
        model=head.model,
        choices=[
            ChatChoice(
                index=choice.index,
                message=_message(choice),
                logprobs=chat_logprobs(request, choice.logprobs),
                finish_reason=finish_reason(choice.finish_reason),
            )
            for choice in answer.choices
        ],
        usage=usage(answer.usage),
        tenon=identity(answer.identity),
    )


def _message(choice: inference_pb2.Choice) -> AnswerMessage:
    calls = tool_calls(choice.tool_calls)
    return AnswerMessage(content=choice.text or (None if calls else ""), tool_calls=calls)


async def _events(
    head: Head,
    request: inference_pb2.GenerateRequest,
    pieces: AsyncIterator[inference_pb2.StreamGenerateResponse],
    *,
    with_usage: bool,
) -> AsyncIterator[str]:
    chunks: _Chunks | None = None
    async for piece in pieces:
        if chunks is None:
            chunks = _Chunks(head, identity(piece.identity))
            for index in range(max(request.n, 1)):
                yield chunks.write(ChunkChoice(index=index, delta=Delta(role="assistant", content="")))
        index = piece.choice_index
        if piece.text or piece.logprobs or piece.tool_calls:
            logprobs = chat_logprobs(request, piece.logprobs) if piece.logprobs else None
            calls = call_pieces(piece.tool_calls)
            delta = Delta(content=piece.text or (None if calls else ""), tool_calls=calls)
            yield chunks.write(ChunkChoice(index=index, delta=delta, logprobs=logprobs))
        if piece.finish_reason:
            reason = finish_reason(piece.finish_reason)
            yield chunks.write(ChunkChoice(index=index, delta=Delta(), finish_reason=reason))
        if with_usage and piece.HasField("usage"):
            yield chunks.write_usage(piece.usage)
    yield DONE


class _Chunks:
    """Writes the pieces of one answer."""

    def __init__(self, head: Head, answerer: Answerer) -> None:
        self._head = head
        self._answerer = answerer

    def write(self, choice: ChunkChoice) -> str:
        return self._write([choice])

    def write_usage(self, counted: inference_pb2.Usage) -> str:
        return self._write([], counted)

    def _write(self, choices: list[ChunkChoice], counted: inference_pb2.Usage | None = None) -> str:
        head = self._head
        chunk = ChatCompletionChunk(
            id=head.id,
            created=head.created,
            model=head.model,
            choices=choices,
            usage=usage(counted) if counted else None,
            tenon=self._answerer,
        )
        return event(chunk.model_dump())
