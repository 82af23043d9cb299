"""An engine that computes nothing, and notes what it is asked."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from opentelemetry.metrics import NoOpMeter

from services.inference.engine.protocol import AdapterWeights, Attached, Batching, EngineRequest, TokenEvent
from services.inference.metrics import InferenceMetrics


def unread_metrics() -> InferenceMetrics:
    """Instruments that nobody reads."""
    return InferenceMetrics(NoOpMeter("tests"))


@dataclass
class Observed:
    """Implements ``EngineObserver``; keeps what it is told, as names with arguments."""

    told: list[tuple[Any, ...]] = field(default_factory=list)

    def admitted(self, waited: float) -> None:
        self.told.append(("admitted", waited))

    def stepped(self, *, decoding: int, prefilled: int, seconds: float) -> None:
        self.told.append(("stepped", decoding, prefilled, seconds))

    def prefix(self, *, reused: int, computed: int) -> None:
        self.told.append(("prefix", reused, computed))

    def slot(self, *, hit: bool) -> None:
        self.told.append(("slot", hit))

    def kv_used(self, used: int, total: int) -> None:
        self.told.append(("kv_used", used, total))

    def preempted(self) -> None:
        self.told.append(("preempted",))


@dataclass
class FakeEngine:
    """Implements ``Engine``; what it answers is given.

    Attributes:
        logits: of the next token, by adapter.
        dtype: that it says it computes in.
        lost: tensors of every adapter that it does not apply.
        attached: adapters that it has.
        asked: prompts, in order.
    """

    logits: Mapping[str | None, Sequence[float]] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    lost: int = 0
    attached: list[str] = field(default_factory=list)
    asked: list[tuple[int, ...]] = field(default_factory=list)

    compute = "float32, made up"
    batching = Batching.ONE_AT_A_TIME
    batching_note = "it is made up"
    context_length = 8
    vocabulary_size = 16
    tensor_count = 1
    size_bytes = 1

    async def attach(self, adapter: AdapterWeights) -> Attached:
        self.attached.append(adapter.digest)
        return Attached(2 * len(adapter.layers) - self.lost, 1)

    async def detach(self, digest: str) -> None:
        if digest in self.attached:
            self.attached.remove(digest)

    def prefetch(self, digest: str) -> None:
        pass

    async def next_token_logits(self, token_ids: Sequence[int], adapter: str | None) -> torch.Tensor:
        self.asked.append(tuple(token_ids))
        return torch.tensor(self.logits[adapter])

    def generate(self, request: EngineRequest) -> AsyncGenerator[TokenEvent, None]:
        raise AssertionError("no test that uses this engine asks it for an answer")

    async def close(self) -> None:
        pass
