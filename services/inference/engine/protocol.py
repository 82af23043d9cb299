"""What an engine is: the interface that the service is written against."""

import enum
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from services.common.identity import BaseFingerprint, OpenBase


class FinishReason(enum.Enum):
    """Why a generation ended."""

    STOP = "stop"
    LENGTH = "length"
    CALLS = "calls"
    """A stop, behind calls of functions. Engines know nothing of them; whoever reads the text does."""


class Batching(enum.Enum):
    """How the requests for a base share it."""

    CONTINUOUS = "continuous"
    """All in one batch, whatever adapters they have; they join and leave it at every step."""
    ONE_AT_A_TIME = "one at a time"
    """One after another."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are picked. Penalties and biases change the logits first, in the order in which they are listed here.

    Attributes:
        temperature: 0 picks the likeliest token.
        top_p: pick among the likeliest tokens that together have this probability, above 0 to 1.
        top_k: pick among this many likeliest tokens; 0 means all.
        min_p: pick among tokens at least this likely, as a share of the likeliest one's probability; 0 to 1.
        repetition_penalty: above 1, logits of tokens in prompt or answer are divided by it where positive, multiplied
            where negative (Keskar et al., 2019); 1 changes nothing.
        presence_penalty: subtracted from the logits of tokens that are in the answer.
        frequency_penalty: subtracted as often as a token is in the answer.
        logit_bias: added to the logits of these tokens.
        seed: makes picks repeatable; None draws one.
        logprobs: how many of the likeliest tokens are reported with each token; None reports nothing, not even of the one
            picked. They are those of the model, before penalties, biases, temperature and constraints.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    logprobs: int | None = None


class TokenConstraint(Protocol):
    """Which tokens may come next, for one generation; follows it token by token. Used by the engine's thread alone."""

    def allow(self, mask: torch.Tensor) -> None:
        """Say what may come next.

        Args:
            mask: int32 [ceil(vocabulary / 32)], on the CPU; bit ``i % 32`` of element ``i // 32`` is set for each token i
                that may come, cleared for the others. Stop tokens may come where the text may end.
        """

    def accept(self, token_id: int) -> None:
        """Take a token that was allowed."""

    @property
    def done(self) -> bool:
        """Whether the text is complete and nothing but a stop token could follow."""


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One generation.

    Attributes:
        token_ids: the prompt, at least one.
        adapter: digest of an attached adapter, or None for the base alone.
        max_tokens: most tokens to generate, at least one; prompt and answer fit the context.
        stop_token_ids: tokens that end the answer.
        sampling: how tokens are picked.
        project: who asks; projects get equal shares of a busy engine, and within one its adapters do.
        constraint: what the answer must look like, or None; belongs to this request alone.
    """

    token_ids: tuple[int, ...]
    adapter: str | None
    max_tokens: int
    stop_token_ids: frozenset[int]
    sampling: Sampling = Sampling()
    project: str = ""
    constraint: TokenConstraint | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Natural logarithms of probabilities, of the token that was picked and of the likeliest ones, likeliest first."""

    picked: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """A token that was generated; the last one says why it is the last."""

    token_id: int
    finish: FinishReason | None = None
    logprobs: TokenLogprobs | None = None


@dataclass(frozen=True, slots=True)
class LoraLayer:
    """The change that an adapter makes to a module ``y = W x + c`` (for an Embedding, x is one-hot and c is zero).

    LoRA (Hu et al., 2021): ``y += scaling · (B A x + bias)``. DoRA (Liu et al., 2024), with ``magnitude``:
    ``y = magnitude / ‖W + scaling · B A‖ ∘ (W x + scaling · B A x) + c``, the length taken of each row.

    Attributes:
        module: its dotted name in the loaded model.
        a: [rank, in]; of an Embedding, in is the number of rows.
        b: [out, rank]; of an Embedding, out is the width.
        scaling: factor.
        magnitude: [out], or None.
        bias: [out], or None; never together with a magnitude, nor on an Embedding.
    """

    module: str
    a: torch.Tensor
    b: torch.Tensor
    scaling: float
    magnitude: torch.Tensor | None = None
    bias: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class ModuleReplacement:
    """A module's own parameters, trained as a whole (PEFT's ``modules_to_save``). Modules tied to it keep theirs.

    Attributes:
        module: its dotted name in the loaded model.
        weight: of the shape that the module's weight has.
        bias: likewise, or None for a module without.
    """

    module: str
    weight: torch.Tensor
    bias: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class AdapterWeights:
    """An adapter whose tensors have been checked.

    Attributes:
        digest: the version's name, which is also the engine's name for it.
        layers: one for each module it changes.
        replacements: one for each module it replaces; none of these has a layer.
    """

    digest: str
    layers: tuple[LoraLayer, ...]
    replacements: tuple[ModuleReplacement, ...] = ()


@dataclass(frozen=True, slots=True)
class Attached:
    """What attaching an adapter came to.

    Attributes:
        applied_tensors: tensors in use.
        size_bytes: memory they take.
    """

    applied_tensors: int
    size_bytes: int


class EngineObserver(Protocol):
    """Told what an engine does, for metrics. Called in the engine's thread: nothing here may block or raise."""

    def admitted(self, waited: float) -> None:
        """A request left the queue after so many seconds; once for each request."""

    def stepped(self, *, decoding: int, prefilled: int, seconds: float) -> None:
        """A step computed one token for each of ``decoding`` requests, and ``prefilled`` tokens of prompts."""

    def prefix(self, *, reused: int, computed: int) -> None:
        """Of a prompt, so many tokens were found computed, and so many were not."""

    def slot(self, *, hit: bool) -> None:
        """A request found its adapter in a slot, or the adapter was copied into one."""

    def kv_used(self, used: int, total: int) -> None:
        """Bytes of keys and values that requests occupy, and the budget."""

    def preempted(self) -> None:
        """A request gave its place up and will be computed again from its tokens."""


class Engine(Protocol):
    """A base in memory that answers, by itself or with one of its adapters.

    Methods are called on the event loop; nothing they do blocks it.
    """

    @property
    def compute(self) -> str:
        """How it computes, for people: ``float32, cpu, one request at a time: its layers keep a state``."""

    @property
    def batching(self) -> Batching:
        """How requests share the base."""

    @property
    def batching_note(self) -> str:
        """Why requests are taken one at a time, for people: ``its layers keep a state``; empty where they are batched."""

    @property
    def context_length(self) -> int:
        """Most positions of prompt and answer."""

    @property
    def dtype(self) -> torch.dtype:
        """Number format that the base computes in."""

    @property
    def vocabulary_size(self) -> int:
        """Token ids that the base can read are below this."""

    @property
    def tensor_count(self) -> int:
        """Tensors of the base."""

    @property
    def size_bytes(self) -> int:
        """Memory that the base takes: its weights, and the budget for keys and values."""

    async def attach(self, adapter: AdapterWeights) -> Attached:
        """Make an adapter available to requests; what fails leaves the engine as it was.

        Raises:
            DomainError: ADAPTER_MODULE_NOT_FOUND, ADAPTER_SHAPE_MISMATCH; ADAPTER_TENSOR_MISSING or
                ADAPTER_TENSOR_UNEXPECTED for a replaced module's bias; ADAPTER_NOT_FINITE for DoRA on a row of zeros.
        """

    async def detach(self, digest: str) -> None:
        """Drop an adapter; generations that use it end undisturbed."""

    def prefetch(self, digest: str) -> None:
        """Say that an attached adapter will be asked for soon; a hint that costs nobody else anything."""

    def generate(self, request: EngineRequest) -> AsyncGenerator[TokenEvent, None]:
        """Generate tokens. Closing the iterator, or cancelling its task, ends the work within one step.

        Raises:
            DomainError: QUEUE_FULL with ``retry_after``, before the first token.
        """

    async def next_token_logits(self, token_ids: Sequence[int], adapter: str | None) -> torch.Tensor:
        """Logits [vocabulary] of the token after a prompt, float32 on the CPU, to compare with those recorded elsewhere.

        Takes its turn before requests that wait, and is never refused for their number. Cancelling it gives the turn back.

        Args:
            token_ids: at least one, each below ``vocabulary_size``, at most ``context_length`` of them.
            adapter: digest of an attached adapter, or None for the base alone.
        """

    async def close(self) -> None:
        """End all generations and give the memory back."""


class EngineLoader(Protocol):
    """Makes engines."""

    def estimate(self, fingerprint: BaseFingerprint) -> int:
        """Bytes that a base will take: its weights, and the budget for keys and values."""

    async def load(self, opened: OpenBase, fingerprint: BaseFingerprint, observer: EngineObserver) -> Engine:
        """Load a base whose fingerprint was compared.

        Args:
            opened: its files.
            fingerprint: of the same.
            observer: is told what the engine does.

        Raises:
            DomainError: BASE_NOT_SUPPORTED, BASE_FILES_INCONSISTENT, OUT_OF_MEMORY.
        """
