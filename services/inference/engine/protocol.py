"""What an engine is: the interface that the service is written against."""

import enum
from collections.abc import AsyncGenerator
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
    """The change that an adapter makes to one module: ``y += scaling · (x Aᵀ) Bᵀ`` (Hu et al., 2021).

    Attributes:
        module: its dotted name in the loaded model.
        a: [rank, in].
        b: [out, rank].
        scaling: factor.
    """

    module: str
    a: torch.Tensor
    b: torch.Tensor
    scaling: float


@dataclass(frozen=True, slots=True)
class AdapterWeights:
    """An adapter whose tensors have been checked.

    Attributes:
        digest: the version's name, which is also the engine's name for it.
        layers: one for each module it changes.
    """

    digest: str
    layers: tuple[LoraLayer, ...]


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
    def tensor_count(self) -> int:
        """Tensors of the base."""

    @property
    def size_bytes(self) -> int:
        """Memory that the base takes."""

    async def attach(self, adapter: AdapterWeights) -> Attached:
        """Make an adapter available to requests; what fails leaves the engine as it was.

        Raises:
            DomainError: ADAPTER_INVALID where a module is not there or a shape does not fit.
        """

    async def detach(self, digest: str) -> None:
        """Drop an adapter; generations that use it end undisturbed."""

    def generate(self, request: EngineRequest) -> AsyncGenerator[TokenEvent, None]:
        """Generate tokens. Closing the iterator, or cancelling its task, ends the work within one step.

        Raises:
            DomainError: QUEUE_FULL with ``retry_after``, before the first token.
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
