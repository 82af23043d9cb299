"""Between the contract's messages and the service's values."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from services.common.bases.text import Message
from services.common.errors import DomainError, Reason, Violation
from services.common.manifest import Provenance
from services.inference.constraints import kinds
from services.inference.engine.protocol import Batching, FinishReason
from services.inference.model import (
    Answer,
    Choice,
    GenerationRequest,
    LoadedModel,
    ModelIdentity,
    Piece,
    SamplingWish,
    TokenLikelihood,
    ToldToken,
    Usage,
)
from services.inference.tools.kinds import Mode, Tool, ToolUse
from tenon.inference.v1 import inference_pb2 as pb

_FINISH: Final = {
    FinishReason.STOP: pb.FINISH_REASON_STOP,
    FinishReason.LENGTH: pb.FINISH_REASON_LENGTH,
    FinishReason.CALLS: pb.FINISH_REASON_TOOL_CALLS,
}

_BATCHING: Final = {
    Batching.CONTINUOUS: pb.BATCHING_CONTINUOUS,
    Batching.ONE_AT_A_TIME: pb.BATCHING_ONE_AT_A_TIME,
}

_MODES: Final[Mapping[int, Mode]] = {
    pb.ToolChoice.MODE_NONE: Mode.NONE,
    pb.ToolChoice.MODE_REQUIRED: Mode.REQUIRED,
}

_NO_PARAMETERS: Final = '{"type": "object", "properties": {}, "additionalProperties": false}'

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
        messages=_messages(message.conversation.messages),
        sampling=_sampling(message.sampling),
        max_tokens=message.max_tokens,
        stop=tuple(message.stop),
        stop_token_ids=tuple(message.stop_token_ids),
        n=message.n or 1,
        logprobs=message.logprobs if message.HasField("logprobs") else None,
        constraint=_constraint(message.constraint) if message.HasField("constraint") else None,
        tools=_tools(message.conversation),
    )


def generate_response(answer: Answer) -> pb.GenerateResponse:
    """Make the message of whole answers."""
    first = answer.choices[0]
    return pb.GenerateResponse(
        text=first.text,
        finish_reason=_FINISH[first.finish],
        usage=_usage(answer.usage),
        identity=_identity(answer.identity),
        choices=[_choice(index, choice) for index, choice in enumerate(answer.choices)],
    )


def stream_response(piece: Piece) -> pb.StreamGenerateResponse:
    """Make the message of one piece."""
    return pb.StreamGenerateResponse(
        text=piece.text,
        finish_reason=_FINISH[piece.finish] if piece.finish else pb.FINISH_REASON_UNSPECIFIED,
        usage=_usage(piece.usage) if piece.usage else None,
        identity=_identity(piece.identity) if piece.identity else None,
        choice_index=piece.index,
        logprobs=map(_told, piece.tokens),
        tool_calls=[
            pb.ToolCallDelta(index=delta.index, id=delta.id, name=delta.name, arguments=delta.arguments)
            for delta in piece.calls
        ],
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


def _messages(items: Iterable[pb.ChatMessage]) -> tuple[Message, ...]:
    """Messages as templates take them: calls with their arguments as objects, answers with the function's name."""
    messages: list[Message] = []
    names: dict[str, str] = {}
    for index, item in enumerate(items):
        message: dict[str, Any] = {
            "role": item.role,
            "content": _text(item.parts, f"conversation.messages[{index}].parts"),
        }
        if item.tool_calls:
            message["tool_calls"] = list(map(_call, item.tool_calls))
        if item.tool_call_id:
            message["tool_call_id"] = item.tool_call_id
        if item.tool_call_id in names:
            message["name"] = names[item.tool_call_id]
        names.update((call.id, call.name) for call in item.tool_calls)
        messages.append(message)
    return tuple(messages)


def _call(call: pb.ToolCall) -> Message:
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = None  # no object, which is what faults are looked for
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _tools(conversation: pb.Conversation) -> ToolUse:
    choice = conversation.tool_choice
    return ToolUse(
        tuple(
            Tool(tool.name, tool.description, tool.parameters_json_schema or _NO_PARAMETERS)
            for tool in conversation.tools
        ),
        choice.function if choice.WhichOneof("kind") == "function" else _MODES.get(choice.mode, Mode.AUTO),
        single=conversation.single_tool_call,
    )


def _constraint(message: pb.Constraint) -> kinds.Constraint:
    match message.WhichOneof("kind"):
        case "json_schema":
            return kinds.JsonSchema(message.json_schema)
        case "regex":
            return kinds.Regex(message.regex)
        case "choice":
            return kinds.Choice(tuple(message.choice.texts))
        case "json_object":
            return kinds.JsonObject()
        case _:
            return kinds.Unsaid()


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


def _choice(index: int, choice: Choice) -> pb.Choice:
    return pb.Choice(
        index=index,
        text=choice.text,
        finish_reason=_FINISH[choice.finish],
        logprobs=map(_told, choice.tokens),
        tool_calls=[pb.ToolCall(id=call.id, name=call.name, arguments=call.arguments) for call in choice.calls],
    )


def _told(told: ToldToken) -> pb.TokenLogprob:
    return pb.TokenLogprob(token=_likelihood(told.token), top=map(_likelihood, told.top), text_offset=told.offset)


def _likelihood(likelihood: TokenLikelihood) -> pb.TokenLikelihood:
    return pb.TokenLikelihood(token_id=likelihood.token_id, text=likelihood.text, logprob=likelihood.logprob)


def _usage(usage: Usage) -> pb.Usage:
    return pb.Usage(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)


def _identity(identity: ModelIdentity) -> pb.ModelIdentity:
    return pb.ModelIdentity(
        base_model=identity.base_model,
        base_fingerprint_id=identity.base_fingerprint_id,
        adapter_version=identity.adapter_version,
        adapter_provenance=_PROVENANCE[identity.adapter_provenance],
    )
