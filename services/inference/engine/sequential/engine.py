"""The sequential engine: transformers' forward pass, one request at a time, in a thread of its own."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

import torch
from transformers import PreTrainedModel

from services.common.bases.loader import context_length, load_model
from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, LinearModule, OpenBase
from services.inference.engine.formats import choose_dtype
from services.inference.engine.protocol import (
    AdapterWeights,
    Attached,
    Batching,
    EngineObserver,
    EngineRequest,
    TokenEvent,
)
from services.inference.engine.sequential.adapted import AdaptedModel
from services.inference.engine.sequential.decode import decode, next_token_logits
from services.inference.engine.threads import in_own_thread

_SHORTEST_RETRY, _LONGEST_RETRY = 0.5, 30.0
_NOTE: Final = "the sequential engine was chosen"


@dataclass(eq=False, slots=True)
class _Ticket:
    """A request on its way; ``events`` and ``running`` belong to the event loop, ``abandoned`` to both threads."""

    request: EngineRequest
    loop: asyncio.AbstractEventLoop
    events: asyncio.Queue[TokenEvent | Exception] = field(default_factory=asyncio.Queue)
    abandoned: threading.Event = field(default_factory=threading.Event)
    running: bool = False
    arrived: float = field(default_factory=time.monotonic)

    def tell(self, call: Callable[..., None], *arguments: object) -> None:
        """Run something on the event loop, from the engine's thread."""
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self.loop.call_soon_threadsafe(call, *arguments)


@dataclass(eq=False, slots=True)
class _Step:
    """A single step that goes before waiting requests: loads wait for it, and it is short."""

    token_ids: Sequence[int]
    adapter: str | None
    logits: Future[torch.Tensor] = field(default_factory=Future)


class SequentialEngine:
    """Implements ``Engine`` for every causal language model of transformers."""

    def __init__(
        self,
        model: PreTrainedModel,
        modules: tuple[LinearModule, ...],
        observer: EngineObserver,
        *,
        queue_size: int,
        note: str = _NOTE,
    ) -> None:
        """Take over a model.

        Args:
            model: in evaluation mode.
            modules: its modules with a matrix, as its fingerprint lists them.
            observer: is told what the engine does.
            queue_size: most requests that wait while one runs.
            note: why this engine, see ``Engine.batching_note``.
        """
        self._model = model
        self._adapted = AdaptedModel(model, modules)
        self._observer = observer
        self._queue_size = queue_size
        self._note = note
        self._waiting = 0
        self._seconds = 0.0
        self._tickets: set[_Ticket] = set()
        self._steps: deque[_Step] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")

    @property
    def compute(self) -> str:
        """See ``Engine``."""
        dtype = str(self._model.dtype).removeprefix("torch.")
        return f"{dtype}, {self._model.device.type}, {self.batching.value}: {self._note}"

    @property
    def batching(self) -> Batching:
        """See ``Engine``."""
        return Batching.ONE_AT_A_TIME

    @property
    def batching_note(self) -> str:
        """See ``Engine``."""
        return self._note

    @property
    def context_length(self) -> int:
        """See ``Engine``."""
        return context_length(self._model.config)

    @property
    def dtype(self) -> torch.dtype:
        """See ``Engine``."""
        return self._model.dtype

    @property
    def vocabulary_size(self) -> int:
        """See ``Engine``."""
        return self._model.get_input_embeddings().get_parameter("weight").shape[0]

    @property
    def tensor_count(self) -> int:
        """See ``Engine``."""
        return sum(1 for _ in self._model.parameters())

    @property
    def size_bytes(self) -> int:
        """See ``Engine``."""
        return sum(parameter.nbytes for parameter in self._model.parameters())

    async def attach(self, adapter: AdapterWeights) -> Attached:
        """See ``Engine``."""
        attaching = asyncio.ensure_future(in_own_thread(self._adapted.attach, adapter))
        try:
            return await asyncio.shield(attaching)
        except asyncio.CancelledError:
            # A thread cannot be stopped. What it attaches is there before the caller detaches it, not after.
            await asyncio.gather(attaching, return_exceptions=True)
            raise

    async def detach(self, digest: str) -> None:
        """See ``Engine``."""
        self._adapted.detach(digest)

    def prefetch(self, digest: str) -> None:
        """See ``Engine``; what is attached is ready here."""

    async def generate(self, request: EngineRequest) -> AsyncGenerator[TokenEvent, None]:
        """See ``Engine``."""
        ticket = self._enter(request)
        try:
            while True:
                event = await ticket.events.get()
                if isinstance(event, Exception):
                    raise event
                yield event
                if event.finish is not None:
                    return
        finally:
            self._leave(ticket)

    async def next_token_logits(self, token_ids: Sequence[int], adapter: str | None) -> torch.Tensor:
        """See ``Engine``."""
        step = _Step(token_ids, adapter)
        self._steps.append(step)
        self._thread.submit(self._take_steps)
        return await asyncio.wrap_future(step.logits)

    async def close(self) -> None:
        """See ``Engine``."""
        for ticket in list(self._tickets):
            ticket.abandoned.set()
            ticket.events.put_nowait(DomainError(Reason.CANCELLED, "The base is being unloaded. Send it again."))
        await asyncio.to_thread(self._thread.shutdown)

    def _enter(self, request: EngineRequest) -> _Ticket:
        if self._tickets and self._waiting >= self._queue_size:
            raise DomainError(
                Reason.QUEUE_FULL,
                f"{self._waiting} requests are waiting for this base, which is all that it takes. Try again later.",
                {"waiting": str(self._waiting)},
                retry_after=min(max(self._seconds, _SHORTEST_RETRY), _LONGEST_RETRY),
            )
        ticket = _Ticket(request, asyncio.get_running_loop(), running=not self._tickets)
        self._tickets.add(ticket)
        self._waiting += not ticket.running
        self._thread.submit(self._serve, ticket)
        return ticket

    def _leave(self, ticket: _Ticket) -> None:
        ticket.abandoned.set()
        self._tickets.discard(ticket)
        if not ticket.running:
            self._waiting -= 1

    def _begin(self, ticket: _Ticket) -> None:
        if ticket in self._tickets and not ticket.running:
            ticket.running = True
            self._waiting -= 1

    def _serve(self, ticket: _Ticket) -> None:
        """Run one request; in the engine's thread."""
        self._take_steps()
        if ticket.abandoned.is_set():
            return
        ticket.tell(self._begin, ticket)
        started = time.monotonic()
        self._observer.admitted(started - ticket.arrived)
        try:
            self._run(ticket)
        except Exception as error:  # noqa: BLE001  # raised again on the event loop, where it is handled
            ticket.tell(ticket.events.put_nowait, error)
        self._seconds = time.monotonic() - started

    def _run(self, ticket: _Ticket) -> None:
        with self._active(ticket.request.adapter):
            prefilled, before = len(ticket.request.token_ids), time.monotonic()
            for event in decode(self._model, ticket.request):
                now = time.monotonic()
                self._observer.stepped(decoding=int(not prefilled), prefilled=prefilled, seconds=now - before)
                prefilled, before = 0, now
                ticket.tell(ticket.events.put_nowait, event)
                if ticket.abandoned.is_set():
                    return

    def _take_steps(self) -> None:
        """Run the single steps asked for until now; in the engine's thread, and so between requests."""
        while self._steps:
            step = self._steps.popleft()
            if not step.logits.set_running_or_notify_cancel():
                continue
            try:
                with self._active(step.adapter):
                    step.logits.set_result(next_token_logits(self._model, step.token_ids))
            except Exception as error:  # noqa: BLE001  # raised again where it is awaited
                step.logits.set_exception(error)

    @contextmanager
    def _active(self, adapter: str | None) -> Iterator[None]:
        """Compute with an adapter; afterwards nothing holds on to one that is detached."""
        self._adapted.activate(adapter)
        try:
            yield
        finally:
            self._adapted.activate(None)


class SequentialEngineLoader:
    """Implements ``EngineLoader``."""

    def __init__(self, *, dtype: str, device: str, queue_size: int) -> None:
        """Take the settings that all engines share; for ``dtype`` see ``choose_dtype``."""
        self._dtype = dtype
        self._device = device
        self._queue_size = queue_size

    def estimate(self, fingerprint: BaseFingerprint) -> int:
        """See ``EngineLoader``."""
        return fingerprint.parameter_count * self._chosen(fingerprint).itemsize

    async def load(self, opened: OpenBase, fingerprint: BaseFingerprint, observer: EngineObserver) -> SequentialEngine:
        """See ``EngineLoader``."""
        model = await in_own_thread(load_model, opened, dtype=self._chosen(fingerprint), device=self._device)
        return SequentialEngine(model, fingerprint.modules, observer, queue_size=self._queue_size)

    def _chosen(self, fingerprint: BaseFingerprint) -> torch.dtype:
        return choose_dtype(fingerprint, self._device, self._dtype)
