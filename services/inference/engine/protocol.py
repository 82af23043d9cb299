"""What an engine is: the interface that the service is written against."""

import enum
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from services.common.identity import BaseFingerprint, OpenBase


class FinishReason(enum.Enum):
    """Why a generation ended."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are picked.

    Attributes:
        temperature: 0 picks the likeliest token.
        top_p: pick among the likeliest tokens that together have this probability, above 0 to 1.
        top_k: pick among this many likeliest tokens; 0 means all.
        seed: makes picks repeatable; None draws one.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One generation.

    Attributes:
        token_ids: the prompt, at least one.
        adapter: digest of an attached adapter, or None for the base alone.
        max_tokens: most tokens to generate, at least one; prompt and answer fit the context.
        stop_token_ids: tokens that end the answer.
        sampling: how tokens are picked.
    """

    token_ids: tuple[int, ...]
    adapter: str | None
    max_tokens: int
    stop_token_ids: frozenset[int]
    sampling: Sampling = Sampling()


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """A token that was generated; the last one says why it is the last."""

    token_id: int
    finish: FinishReason | None = None


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


class Engine(Protocol):
    """A base in memory that answers, by itself or with one of its adapters.

    Methods are called on the event loop; nothing they do blocks it.
    """

    @property
    def compute(self) -> str:
        """How it computes, for people: ``float32, cpu, one request at a time``."""

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
        """Memory that the base takes."""

    async def attach(self, adapter: AdapterWeights) -> Attached:
        """Make an adapter available to requests; what fails leaves the engine as it was.

        Raises:
            DomainError: ADAPTER_MODULE_NOT_FOUND, ADAPTER_SHAPE_MISMATCH; ADAPTER_TENSOR_MISSING or
                ADAPTER_TENSOR_UNEXPECTED for a replaced module's bias; ADAPTER_NOT_FINITE for DoRA on a row of zeros.
        """

    async def detach(self, digest: str) -> None:
        """Drop an adapter; generations that use it end undisturbed."""

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

    def estimate(self, parameter_count: int) -> int:
        """Bytes that a base of so many parameters will take."""

    async def load(self, opened: OpenBase, fingerprint: BaseFingerprint) -> Engine:
        """Load a base whose fingerprint was compared.

        Raises:
            DomainError: BASE_NOT_SUPPORTED, BASE_FILES_INCONSISTENT, OUT_OF_MEMORY.
        """
