"""Between the contract's messages and the service's values."""

from collections.abc import Iterable
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from services.common.errors import DomainError, Reason, Violation
from services.common.manifest import Provenance
from services.inference.engine.protocol import FinishReason
from services.inference.model import (
    Answer,
    GenerationRequest,
    LoadedModel,
    ModelIdentity,
    Piece,
    SamplingWish,
    Usage,
)
from tenon.inference.v1 import inference_pb2 as pb

_FINISH: Final = {
    FinishReason.STOP: pb.FINISH_REASON_STOP,
    FinishReason.LENGTH: pb.FINISH_REASON_LENGTH,
}

_PROVENANCE: Final = {
    None: pb.ADAPTER_PROVENANCE_UNSPECIFIED,
    Provenance.WITNESSED: pb.ADAPTER_PROVENANCE_WITNESSED,
    Provenance.DECLARED: pb.ADAPTER_PROVENANCE_DECLARED,
}


def generation_request(message: pb.GenerateRequest) -> GenerationRequest:
    """Read a request.

    Raises:
        DomainError: INVALID_ARGUMENT for a content part of an unknown kind.
    """
    kind = message.WhichOneof("input")
    return GenerationRequest(
        model=message.model,
        base_model=message.base_model,
        prompt=_text(message.prompt.parts, "prompt.parts") if kind == "prompt" else None,
        messages=tuple(
            {"role": item.role, "content": _text(item.parts, f"conversation.messages[{index}].parts")}
            for index, item in enumerate(message.conversation.messages)
        ),
        sampling=_sampling(message.sampling),
        max_tokens=message.max_tokens,
        stop=tuple(message.stop),
    )


def generate_response(answer: Answer) -> pb.GenerateResponse:
    """Make the message of a whole answer."""
    return pb.GenerateResponse(
        text=answer.text,
        finish_reason=_FINISH[answer.finish],
        usage=_usage(answer.usage),
        identity=_identity(answer.identity),
    )


def stream_response(piece: Piece) -> pb.StreamGenerateResponse:
    """Make the message of one piece."""
    return pb.StreamGenerateResponse(
        text=piece.text,
        finish_reason=_FINISH[piece.finish] if piece.finish else pb.FINISH_REASON_UNSPECIFIED,
        usage=_usage(piece.usage) if piece.usage else None,
        identity=_identity(piece.identity) if piece.identity else None,
    )


def loaded_model(model: LoadedModel) -> pb.LoadedModel:
    """Make the message of what is in memory."""
    time = Timestamp()
    time.FromDatetime(model.load_time)
    return pb.LoadedModel(
        identity=_identity(model.identity),
        applied_tensors=model.applied_tensors,
        total_tensors=model.total_tensors,
        compute=model.compute,
        size_bytes=model.size_bytes,
        load_time=time,
    )


def _text(parts: Iterable[pb.ContentPart], field: str) -> str:
    texts = []
    for index, part in enumerate(parts):
        if part.WhichOneof("kind") != "text":
            fault = f"{field}[{index}] is empty or of a kind that this version does not take; send text."
            raise DomainError(Reason.INVALID_ARGUMENT, fault, violations=[Violation(f"{field}[{index}]", fault)])
        texts.append(part.text)
    return "".join(texts)


def _sampling(message: pb.SamplingParameters) -> SamplingWish:
    return SamplingWish(
        temperature=message.temperature if message.HasField("temperature") else None,
        top_p=message.top_p if message.HasField("top_p") else None,
        top_k=message.top_k if message.HasField("top_k") else None,
        seed=message.seed if message.HasField("seed") else None,
    )


def _usage(usage: Usage) -> pb.Usage:
    return pb.Usage(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)


def _identity(identity: ModelIdentity) -> pb.ModelIdentity:
    return pb.ModelIdentity(
        base_model=identity.base_model,
        base_fingerprint_id=identity.base_fingerprint_id,
        adapter_version=identity.adapter_version,
        adapter_provenance=_PROVENANCE[identity.adapter_provenance],
    )
