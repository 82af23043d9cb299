"""Between the contract's messages and the service's values."""

from collections.abc import Iterable
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from services.common.errors import DomainError, Reason, Violation
from services.common.manifest import Provenance
from services.inference.engine.protocol import Batching, FinishReason
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

_BATCHING: Final = {
    Batching.CONTINUOUS: pb.BATCHING_CONTINUOUS,
    Batching.ONE_AT_A_TIME: pb.BATCHING_ONE_AT_A_TIME,
}

_PROVENANCE: Final = {
    None: pb.ADAPTER_PROVENANCE_UNSPECIFIED,
    Provenance.WITNESSED: pb.ADAPTER_PROVENANCE_WITNESSED,
    Provenance.DECLARED: pb.ADAPTER_PROVENANCE_DECLARED,
}


def generation_request(message: pb.GenerateRequest) -> GenerationRequest:
    """Read a request.

    Raises:
        DomainError: INVALID_ARGUMENT for a content part of an unknown kind, and for what is not answered yet.
    """
    _check_answered(message)
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
        stop_token_ids=tuple(message.stop_token_ids),
    )


def generate_response(answer: Answer) -> pb.GenerateResponse:
    """Make the message of a whole answer."""
    return pb.GenerateResponse(
        text=answer.text,
        finish_reason=_FINISH[answer.finish],
        usage=_usage(answer.usage),
        identity=_identity(answer.identity),
        choices=[pb.Choice(text=answer.text, finish_reason=_FINISH[answer.finish])],
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
        batching=_BATCHING[model.batching],
        batching_note=model.batching_note,
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


def _check_answered(message: pb.GenerateRequest) -> None:
    """Refuse what the contract describes and this version does not do, instead of passing it over."""
    asked = {
        "n": message.n not in (0, 1),
        "logprobs": message.HasField("logprobs"),
        "constraint": message.HasField("constraint"),
    }
    faults = [
        Violation(name, f"{name} is not answered by this version; leave it out.") for name in asked if asked[name]
    ]
    if faults:
        raise DomainError(Reason.INVALID_ARGUMENT, " ".join(fault.description for fault in faults), violations=faults)


def _sampling(message: pb.SamplingParameters) -> SamplingWish:
    return SamplingWish(
        temperature=message.temperature if message.HasField("temperature") else None,
        top_p=message.top_p if message.HasField("top_p") else None,
        top_k=message.top_k if message.HasField("top_k") else None,
        seed=message.seed if message.HasField("seed") else None,
        min_p=message.min_p if message.HasField("min_p") else None,
        repetition_penalty=message.repetition_penalty if message.HasField("repetition_penalty") else None,
        presence_penalty=message.presence_penalty if message.HasField("presence_penalty") else None,
        frequency_penalty=message.frequency_penalty if message.HasField("frequency_penalty") else None,
        logit_bias=dict(message.logit_bias),
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
