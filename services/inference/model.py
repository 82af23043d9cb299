"""What the service works with, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from services.common.bases.text import Message
from services.common.identity import FingerprintSummary
from services.common.manifest import AdapterManifest, Provenance
from services.common.resource_names import AdapterVersionName
from services.inference.constraints.kinds import Constraint
from services.inference.engine.protocol import Batching, FinishReason
from services.inference.tools.kinds import NO_TOOLS, ToolCall, ToolCallDelta, ToolUse


@dataclass(frozen=True, slots=True)
class RegisteredBase:
    """A base model as the registry knows it.

    Attributes:
        name: ``baseModels/{id}``.
        fingerprint: what its files must be; without the quantization, which the registry's short view leaves out.
        sources: where its files can be had, best first.
    """

    name: str
    fingerprint: FingerprintSummary
    sources: tuple[str, ...]

    @property
    def fingerprint_id(self) -> str:
        """The fingerprint's id, which covers all of it."""
        return self.fingerprint.id


@dataclass(frozen=True, slots=True)
class AdapterVersion:
    """A READY version whose manifest has the digest that is its name.

    Attributes:
        name: of the version.
        manifest: what its bytes say.
        manifest_bytes: as they were signed.
        envelope: its signatures (DSSE, JSON), or empty.
    """

    name: AdapterVersionName
    manifest: AdapterManifest
    manifest_bytes: bytes
    envelope: bytes

    @property
    def label(self) -> str:
        """What people call it in a sentence."""
        return f"version {self.name.version[:12]} of the adapter {self.name.adapter}"


@dataclass(frozen=True, slots=True)
class Target:
    """What answers a request: a base, alone or with an adapter that was trained on it."""

    base: RegisteredBase
    adapter: AdapterVersion | None = None

    @property
    def identity(self) -> "ModelIdentity":
        """Which weights answer."""
        if self.adapter is None:
            return ModelIdentity(self.base.name, self.base.fingerprint_id)
        provenance = self.adapter.manifest.provenance
        return ModelIdentity(self.base.name, self.base.fingerprint_id, str(self.adapter.name), provenance)


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which weights answered.

    Attributes:
        base_model: ``baseModels/{id}``.
        base_fingerprint_id: recomputed from the bytes that were loaded.
        adapter_version: full name, or empty for the base alone.
        adapter_provenance: who vouches that the adapter was trained on this base; None for the base alone.
    """

    base_model: str
    base_fingerprint_id: str
    adapter_version: str = ""
    adapter_provenance: Provenance | None = None


@dataclass(frozen=True, slots=True)
class SamplingWish:
    """How tokens are picked, as far as the caller says; the base's generation defaults say the rest."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A request, as it arrives.

    Attributes:
        model: name of a base, an adapter, an alias or a version.
        base_model: name of the base expected, or empty.
        prompt: text to continue, or None for a conversation.
        messages: the conversation, as templates take it.
        sampling: how tokens are picked.
        max_tokens: most tokens to generate; 0 leaves it to the service.
        stop: texts before which the answer ends.
        stop_token_ids: tokens before which it ends, beside those of the model.
        n: how many answers.
        logprobs: how many of the likeliest tokens are told with each token; None tells no logprobs at all.
        constraint: what each answer must look like, or None.
        tools: functions that the model may ask to call.
    """

    model: str
    base_model: str = ""
    prompt: str | None = None
    messages: tuple[Message, ...] = ()
    sampling: SamplingWish = SamplingWish()
    max_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    n: int = 1
    logprobs: int | None = None
    constraint: Constraint | None = None
    tools: ToolUse = NO_TOOLS


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens counted; those generated include the end-of-turn token."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class TokenLikelihood:
    """How likely a token was.

    Attributes:
        token_id: which one.
        text: in UTF-8, maybe a part of a character; empty for an id without text.
        logprob: natural logarithm of its probability, by the model alone.
    """

    token_id: int
    text: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class ToldToken:
    """A token of an answer, where logprobs were asked for.

    Attributes:
        token: it.
        top: the likeliest tokens in its place, likeliest first.
        offset: where its text begins in the answer, in code points.
    """

    token: TokenLikelihood
    top: tuple[TokenLikelihood, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of one of the answers to a request.

    Attributes:
        text: whole characters.
        identity: in the first piece of all only.
        finish: in the last piece of each answer only.
        usage: in the last piece of all only.
        index: of the answer.
        tokens: those that begin in this piece, where logprobs were asked for.
        calls: pieces of calls.
    """

    text: str
    identity: ModelIdentity | None = None
    finish: FinishReason | None = None
    usage: Usage | None = None
    index: int = 0
    tokens: tuple[ToldToken, ...] = ()
    calls: tuple[ToolCallDelta, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the answers to a request, whole."""

    text: str
    finish: FinishReason
    tokens: tuple[ToldToken, ...] = ()
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """All answers to a request, by their index."""

    choices: tuple[Choice, ...]
    identity: ModelIdentity
    usage: Usage


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A base or an adapter in memory.

    Attributes:
        identity: which one.
        applied_tensors: tensors in use.
        total_tensors: tensors that had to find their place; equal to ``applied_tensors``, or the load had failed.
        compute: how the base is computed.
        batching: how requests share the base.
        batching_note: why they are taken one at a time, if they are.
        size_bytes: memory that it takes.
        load_time: when it was loaded.
    """

    identity: ModelIdentity
    applied_tensors: int
    total_tensors: int
    compute: str
    batching: Batching
    batching_note: str
    size_bytes: int
    load_time: datetime
