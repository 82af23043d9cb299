"""Requests for answers, and what comes back."""

import json
import re
from types import MappingProxyType
from typing import Final

from gateway.mapping.messages import conversation
from gateway.names import ModelName, base_model_name, last_part, public_version
from gateway.schemas.adapters import Provenance
from gateway.schemas.answers import FinishReason, Identity, Usage
from gateway.schemas.generation import ChatRequest, CompletionRequest, Generation
from services.common.errors import DomainError, Reason, Violation
from tenon.inference.v1 import inference_pb2

_FINISH: Final[MappingProxyType[int, FinishReason]] = MappingProxyType(
    {
        inference_pb2.FINISH_REASON_STOP: "stop",
        inference_pb2.FINISH_REASON_LENGTH: "length",
        inference_pb2.FINISH_REASON_TOOL_CALLS: "tool_calls",
    }
)
_PROVENANCE: Final[MappingProxyType[int, Provenance]] = MappingProxyType(
    {
        inference_pb2.ADAPTER_PROVENANCE_WITNESSED: "witnessed",
        inference_pb2.ADAPTER_PROVENANCE_DECLARED: "declared",
    }
)
_FIELDS: Final = MappingProxyType(
    {
        "constraint.json_schema": "response_format.json_schema.schema",
        "constraint.json_object": "response_format",
        "constraint.regex": "regex",
        "constraint.choice": "choice",
    }
)
# What inference calls a part of a conversation, and what REST calls it.
_PARTS: Final = (
    (re.compile(r"^conversation\.tools\[(\d+)\]\.parameters_json_schema"), r"tools.\1.function.parameters"),
    (re.compile(r"^conversation\.tools\[(\d+)\]\.(\w+)"), r"tools.\1.function.\2"),
    (re.compile(r"^conversation\.messages\[(\d+)\]\.tool_calls\[(\d+)\]\."), r"messages.\1.tool_calls.\2.function."),
    (re.compile(r"^conversation\.messages\[(\d+)\]"), r"messages.\1"),
    (re.compile(r"^conversation\."), ""),
    (re.compile(r"^sampling\."), ""),
)


def chat_request(chat: ChatRequest, model: ModelName) -> inference_pb2.GenerateRequest:
    """Read a conversation.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    if chat.max_tokens is not None and chat.max_completion_tokens not in {None, chat.max_tokens}:
        text = "differs from max_tokens; send one of them"
        raise DomainError(
            Reason.INVALID_ARGUMENT,
            f"max_completion_tokens: {text}.",
            violations=[Violation("max_completion_tokens", text)],
        )
    request = _generation(chat, model, chat.max_tokens or chat.max_completion_tokens)
    if chat.logprobs:
        request.logprobs = chat.top_logprobs or 0
    request.conversation.CopyFrom(conversation(chat))
    return request


def completion_request(completion: CompletionRequest, model: ModelName) -> inference_pb2.GenerateRequest:
    """Read a prompt.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    request = _generation(completion, model, completion.max_tokens)
    if completion.logprobs is not None:
        request.logprobs = completion.logprobs
    request.prompt.parts.add(text=completion.prompt)
    return request


def in_rest_terms(error: DomainError) -> DomainError:
    """An error of inference with the names that fields have here."""
    violations = [
        Violation(_FIELDS.get(violation.field) or _part(violation.field), violation.description)
        for violation in error.violations
    ]
    return DomainError(
        error.reason, error.message, error.metadata, violations=violations, retry_after=error.retry_after
    )


def expected_base(base_model: str | None) -> str:
    """Read the base that the caller expects; empty where none is named.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    return str(base_model_name(base_model, "base_model")) if base_model else ""


def finish_reason(reason: inference_pb2.FinishReason) -> FinishReason:
    """Write why an answer ended."""
    return _FINISH.get(reason, "stop")


def usage(counted: inference_pb2.Usage) -> Usage:
    """Write tokens counted."""
    return Usage(
        prompt_tokens=counted.prompt_tokens,
        completion_tokens=counted.completion_tokens,
        total_tokens=counted.prompt_tokens + counted.completion_tokens,
    )


def identity(of: inference_pb2.ModelIdentity) -> Identity:
    """Write which weights answered."""
    return Identity(
        base_model=last_part(of.base_model),
        base_fingerprint_id=of.base_fingerprint_id,
        adapter_version=public_version(of.adapter_version) or None,
        provenance=_PROVENANCE.get(of.adapter_provenance),
    )


def _generation(body: Generation, model: ModelName, max_tokens: int | None) -> inference_pb2.GenerateRequest:
    return inference_pb2.GenerateRequest(
        model=str(model),
        base_model=expected_base(body.base_model),
        sampling=inference_pb2.SamplingParameters(
            temperature=body.temperature,
            top_p=body.top_p,
            top_k=body.top_k,
            seed=body.seed,
            min_p=body.min_p,
            repetition_penalty=body.repetition_penalty,
            presence_penalty=body.presence_penalty,
            frequency_penalty=body.frequency_penalty,
            logit_bias=body.logit_bias,
        ),
        max_tokens=max_tokens or 0,
        stop=body.stop,
        n=body.n or 0,
        constraint=_constraint(body),
    )


def _constraint(body: Generation) -> inference_pb2.Constraint | None:
    """What the answer must look like, of the three places where it can be said.

    Raises:
        DomainError: INVALID_ARGUMENT where more than one says it.
    """
    said: dict[str, inference_pb2.Constraint] = {}
    shape = body.response_format
    if shape is not None and shape.json_schema is not None:
        said["response_format"] = inference_pb2.Constraint(json_schema=json.dumps(shape.json_schema.schema_))
    elif shape is not None and shape.type == "json_object":
        said["response_format"] = inference_pb2.Constraint(json_object={})
    if body.regex is not None:
        said["regex"] = inference_pb2.Constraint(regex=body.regex)
    if body.choice is not None:
        said["choice"] = inference_pb2.Constraint(choice={"texts": body.choice})
    if len(said) > 1:
        *others, last = said
        text = f"cannot be held together with {' and '.join(others)}; send one of them"
        raise DomainError(Reason.INVALID_ARGUMENT, f"{last}: {text}.", violations=[Violation(last, text)])
    return next(iter(said.values()), None)


def _part(field: str) -> str:
    for ours, theirs in _PARTS:
        field = ours.sub(theirs, field)
    return field
