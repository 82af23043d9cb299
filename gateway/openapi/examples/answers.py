"""Answers of models."""

from typing import Final

from gateway.openapi.examples.adapters import BASE, FINGERPRINT, VERSION
from gateway.schemas.answers import (
    AnswerMessage,
    ChatChoice,
    ChatCompletion,
    ChatCompletionChunk,
    ChunkChoice,
    Completion,
    CompletionChoice,
    Delta,
    Identity,
    Usage,
)

_SECONDS: Final = 1772442847
_IDENTITY: Final = Identity(
    base_model=BASE, base_fingerprint_id=FINGERPRINT, adapter_version=f"wukong@{VERSION}", provenance="witnessed"
)
_USAGE: Final = Usage(prompt_tokens=21, completion_tokens=18, total_tokens=39)

CHAT: Final = ChatCompletion(
    id="chatcmpl-5f2d8c1e9a7b4036",
    created=_SECONDS,
    model="wukong",
    choices=[ChatChoice(message=AnswerMessage(content="俺家住东胜神洲花果山，山里有个水帘洞。"), finish_reason="stop")],
    usage=_USAGE,
    tenon=_IDENTITY,
)

CHUNK: Final = ChatCompletionChunk(
    id="chatcmpl-5f2d8c1e9a7b4036",
    created=_SECONDS,
    model="wukong",
    choices=[ChunkChoice(delta=Delta(content="俺家"))],
    tenon=_IDENTITY,
)

COMPLETION: Final = Completion(
    id="cmpl-5f2d8c1e9a7b4036",
    created=_SECONDS,
    model="wukong",
    choices=[CompletionChoice(text="山里有个水帘洞。", finish_reason="stop")],
    usage=_USAGE,
    tenon=_IDENTITY,
)
