"""What a person operates the service by: waiting, speed, batches, the tiers that adapters come through, refusals.

Names are those of OpenTelemetry's semantic conventions for generative AI where these have one, else ``tenon.inference.*``;
docs/metrics.md lists them.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Final, Literal

from opentelemetry.metrics import Histogram, Meter

from services.common.errors import DomainError, Reason
from services.common.resource_names import AdapterName
from services.inference.engine.protocol import EngineObserver, TokenEvent
from services.inference.model import GenerationRequest, Target

MAX_ADAPTERS: Final = 200
"""Adapters that have a series of their own, first come, first served; all others share ``OTHER``."""

OTHER: Final = "other"

PROVIDER: Final = "tenon"

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 300)
"""Bounds of the buckets of times, from a token on a GPU to a long answer on a laptop."""

ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Bounds of the buckets of batch sizes."""

BASE, ADAPTER, ERROR = "tenon.base_model", "tenon.adapter", "error.type"

Tier = Literal["disk", "memory", "slot"]
Labels = dict[str, str | bool]


class InferenceMetrics:
    """Every instrument of the service. Methods may be called from any thread, and never raise."""

    def __init__(self, meter: Meter) -> None:
        """Make the instruments; where nobody reads them they cost next to nothing."""
        self._named: set[str] = set()
        seconds = partial(meter.create_histogram, unit="s", explicit_bucket_boundaries_advisory=SECONDS)
        self.request_duration = seconds("gen_ai.server.request.duration", description="From a request to its end.")
        self.first_token = seconds(
            "gen_ai.server.time_to_first_token", description="From a request to its first token."
        )
        self.per_token = seconds(
            "gen_ai.server.time_per_output_token", description="Per token after the first, of one answer."
        )
        self.token_gap = seconds("tenon.inference.token.gap", description="Between a token and the one before it.")
        self.tokens = meter.create_counter("tenon.inference.tokens", "{token}", "Tokens read and generated.")
        self.load_duration = seconds("tenon.inference.load.duration", description="Loading a base or an adapter.")
        self.cache_requests = meter.create_counter(
            "tenon.inference.cache.requests", "{request}", "What was looked for in a tier, and was there or not."
        )
        self.queue_duration = seconds(
            "tenon.inference.queue.duration", description="Waiting for an engine's first step."
        )
        self.step_duration = seconds(
            "tenon.inference.step.duration", description="A step of an engine, for all of its rows."
        )
        self.step_rows = meter.create_histogram(
            "tenon.inference.step.rows",
            "{request}",
            "Requests for which a step computed the next token.",
            explicit_bucket_boundaries_advisory=ROWS,
        )
        self.prompt_tokens = meter.create_counter(
            "tenon.inference.prompt.tokens", "{token}", "Tokens of prompts: computed, or found computed."
        )
        self.kv_used = meter.create_gauge("tenon.inference.kv.used", "By", "Keys and values of running requests.")
        self.kv_limit = meter.create_gauge("tenon.inference.kv.limit", "By", "The budget for keys and values.")
        self.preemptions = meter.create_counter(
            "tenon.inference.preemptions", "{request}", "Requests that gave their place up, to be computed again."
        )

    def engine(self, base_model: str) -> EngineObserver:
        """What the engine of a base tells."""
        return _ObservedEngine(self, base_model)

    def looked_up(self, tier: Tier, *, hit: bool) -> None:
        """An adapter was looked for in a tier."""
        self.cache_requests.add(1, {"tenon.tier": tier, "tenon.hit": hit})

    @contextmanager
    def loading(self, kind: Literal["base", "adapter"], base_model: str) -> Iterator[None]:
        """Measure a load, and why it failed."""
        with _timed(self.load_duration, {"tenon.kind": kind, BASE: base_model}):
            yield

    @contextmanager
    def request(self, request: GenerationRequest) -> Iterator["MeasuredRequest"]:
        """Measure a request, and why it failed."""
        labels: Labels = {
            "gen_ai.operation.name": "text_completion" if request.prompt is not None else "chat",
            "gen_ai.provider.name": PROVIDER,
        }
        measured = MeasuredRequest(self, labels)
        with _timed(self.request_duration, labels):
            yield measured

    def label(self, adapter: str) -> str:
        """An adapter's name as a label: its own for the first ``MAX_ADAPTERS`` of them."""
        if adapter not in self._named:
            if len(self._named) >= MAX_ADAPTERS:
                return OTHER
            self._named.add(adapter)
        return adapter


class MeasuredRequest:
    """One request on its way."""

    def __init__(self, metrics: InferenceMetrics, labels: Labels) -> None:
        """Begin to count time; ``labels`` grow as more is known."""
        self._metrics = metrics
        self._labels = labels
        self._started = time.monotonic()
        self._base = self._adapter = ""

    def resolved(self, target: Target) -> None:
        """Say what answers."""
        self._base = self._labels["gen_ai.request.model"] = target.base.name
        if target.adapter is not None:
            name = target.adapter.name
            self._adapter = self._metrics.label(str(AdapterName(name.project, name.adapter)))

    def read(self, count: int) -> None:
        """Count the tokens of the prompt."""
        self._count("input", count)

    async def events(self, events: AsyncGenerator[TokenEvent, None]) -> AsyncGenerator[TokenEvent, None]:
        """Pass an engine's events on, and measure when they come; ends them when it is closed."""
        metrics, labels = self._metrics, self._labels
        first = before = 0.0
        count = 0
        try:
            async with aclosing(events):
                async for event in events:
                    now = time.monotonic()
                    if count:
                        metrics.token_gap.record(now - before, labels)
                    else:
                        first = now
                        metrics.first_token.record(now - self._started, labels)
                    count, before = count + 1, now
                    yield event
        finally:
            self._count("output", count)
            if count > 1:
                metrics.per_token.record((before - first) / (count - 1), labels)

    def _count(self, kind: str, tokens: int) -> None:
        self._metrics.tokens.add(tokens, {"gen_ai.token.type": kind, BASE: self._base, ADAPTER: self._adapter})


class _ObservedEngine:
    """Implements ``EngineObserver``."""

    def __init__(self, metrics: InferenceMetrics, base_model: str) -> None:
        self._metrics = metrics
        self._labels: Labels = {BASE: base_model}

    def admitted(self, waited: float) -> None:
        """See ``EngineObserver``."""
        self._metrics.queue_duration.record(waited, self._labels)

    def stepped(self, *, decoding: int, prefilled: int, seconds: float) -> None:
        """See ``EngineObserver``."""
        kind = "mixed" if decoding and prefilled else "decode" if decoding else "prefill"
        self._metrics.step_duration.record(seconds, {**self._labels, "tenon.step": kind})
        self._metrics.step_rows.record(decoding, self._labels)

    def prefix(self, *, reused: int, computed: int) -> None:
        """See ``EngineObserver``."""
        self._metrics.prompt_tokens.add(reused, {**self._labels, "tenon.hit": True})
        self._metrics.prompt_tokens.add(computed, {**self._labels, "tenon.hit": False})

    def slot(self, *, hit: bool) -> None:
        """See ``EngineObserver``."""
        self._metrics.looked_up("slot", hit=hit)

    def kv_used(self, used: int, total: int) -> None:
        """See ``EngineObserver``."""
        self._metrics.kv_used.set(used, self._labels)
        self._metrics.kv_limit.set(total, self._labels)

    def preempted(self) -> None:
        """See ``EngineObserver``."""
        self._metrics.preemptions.add(1, self._labels)


@contextmanager
def _timed(histogram: Histogram, labels: Labels) -> Iterator[None]:
    """Record how long a block takes, and the reason if it fails; ``labels`` are read at its end."""
    started = time.monotonic()
    failure: Labels = {}
    try:
        yield
    except BaseException as error:
        failure = {ERROR: _reason(error).value}
        raise
    finally:
        histogram.record(time.monotonic() - started, {**labels, **failure})


def _reason(error: BaseException) -> Reason:
    if isinstance(error, DomainError):
        return error.reason
    return Reason.CANCELLED if isinstance(error, asyncio.CancelledError | GeneratorExit) else Reason.INTERNAL
