"""The batched engine: requests of the event loop on one side, the thread that computes step after step on the other.

A request's life: ``generate`` puts a row into the inbox; the thread hands it to the scheduler; the scheduler opens room for it and
has its prompt computed, in chunks, beside everybody else's tokens; from then on each step gives it one token, which goes back to
the event loop; when it ends, its room is closed.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from typing import Final

import structlog
import torch

from services.common.errors import DomainError, Reason
from services.inference.engine.batched.attaching import Attacher
from services.inference.engine.batched.model import BatchedModel
from services.inference.engine.batched.pace import Pace
from services.inference.engine.batched.room import EngineRoom
from services.inference.engine.batched.rows import Piece, Row
from services.inference.engine.batched.scheduler import NoRoomError, RoomFailedError, Scheduler
from services.inference.engine.failures import computing_failure
from services.inference.engine.protocol import (
    AdapterWeights,
    Attached,
    Batching,
    EngineObserver,
    EngineRequest,
    FinishReason,
    TokenEvent,
)
from services.inference.engine.sampling import Picked, RowPicker, pick
from services.inference.engine.threads import EngineThread, in_own_thread

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

SHORTEST_RETRY: Final = 0.5
LONGEST_RETRY: Final = 30.0

RECHECK: Final = 0.05
"""Seconds after which rows that nothing can be computed for are looked at again."""


class _Mailbox:
    """Events on their way to the one task that waits for them; belongs to the event loop.

    asyncio.Queue does the same for many tasks, at several times the cost, which every token of every request would pay.
    """

    __slots__ = ("_events", "_waiter")

    def __init__(self) -> None:
        self._events: deque[TokenEvent | Exception] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, event: TokenEvent | Exception) -> None:
        self._events.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> TokenEvent | Exception:
        while not self._events:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._events.popleft()


@dataclass(eq=False, slots=True)
class _Ticket:
    """A request between the event loop and the engine's thread."""

    row: Row
    loop: asyncio.AbstractEventLoop
    picker: RowPicker
    events: _Mailbox = field(default_factory=_Mailbox)


@dataclass(frozen=True, slots=True)
class _SingleStep:
    """Logits that were asked for by themselves: loads wait for them, and they are soon there."""

    token_ids: Sequence[int]
    adapter: str | None
    logits: Future[torch.Tensor] = field(default_factory=Future)


class BatchedEngine:
    """Implements ``Engine`` for models whose rows compute together."""

    def __init__(
        self,
        model: BatchedModel,
        room: EngineRoom,
        thread: EngineThread,
        *,
        context_length: int,
        vocabulary_size: int,
        size_bytes: int,
        tensor_count: int,
        max_rows: int,
        queue_size: int,
        observer: EngineObserver,
    ) -> None:
        """Take a model over and start.

        Args:
            model: computes.
            room: its memory.
            thread: in which it computes.
            context_length: most positions of prompt and answer.
            vocabulary_size: logits of a token.
            size_bytes: memory of weights, keys and values.
            tensor_count: of the base.
            max_rows: most requests that compute together.
            queue_size: most requests that wait.
            observer: told what happens.
        """
        self._model = model
        self._room = room
        self._context_length = context_length
        self._vocabulary_size = vocabulary_size
        self._size_bytes = size_bytes
        self._tensor_count = tensor_count
        self._max_rows = max_rows
        self._queue_size = queue_size
        self._observer = observer
        self._pace = Pace()
        self._scheduler = Scheduler(room, max_rows=max_rows, pace=self._pace, clock=time.monotonic, observer=observer)
        self._attacher = Attacher(model)
        # The event loop's, with the number of those that the thread has not begun.
        self._tickets: set[_Ticket] = set()
        self._seconds = 1.0
        # Between both.
        self._lock = threading.Lock()
        self._inbox: deque[_Ticket] = deque()
        self._errands: deque[Callable[[], None]] = deque()
        self._closing = False
        # The thread's.
        self._of: dict[Row, _Ticket] = {}
        self._ended = threading.Event()
        self._thread = thread
        thread.join(self)

    @property
    def compute(self) -> str:
        """See ``Engine``."""
        dtype = str(self._model.dtype).removeprefix("torch.")
        packed = f", {self._model.packed} matrices prepacked" if self._model.packed else ""
        fused = ", fused layers" if self._model.fused else ""
        native = ", kernels for this processor" if self._model.native else ""
        recorded = ", steps recorded" if self._model.recorded else ""
        chosen = f"{packed}{fused}{native}{recorded}"
        return f"{dtype}, {self._model.device.type}, up to {self._max_rows} requests together{chosen}"

    @property
    def batching(self) -> Batching:
        """See ``Engine``."""
        return Batching.CONTINUOUS

    @property
    def batching_note(self) -> str:
        """See ``Engine``."""
        return ""

    @property
    def context_length(self) -> int:
        """See ``Engine``."""
        return self._context_length

    @property
    def dtype(self) -> torch.dtype:
        """See ``Engine``."""
        return self._model.dtype

    @property
    def vocabulary_size(self) -> int:
        """See ``Engine``."""
        return self._vocabulary_size

    @property
    def tensor_count(self) -> int:
        """See ``Engine``."""
        return self._tensor_count

    @property
    def size_bytes(self) -> int:
        """See ``Engine``."""
        return self._size_bytes

    async def attach(self, adapter: AdapterWeights) -> Attached:
        """See ``Engine``."""
        attaching = asyncio.ensure_future(in_own_thread(self._attach, adapter))
        try:
            return await asyncio.shield(attaching)
        except asyncio.CancelledError:
            # A thread cannot be stopped. What it attaches is there before the caller detaches it, not after.
            await asyncio.gather(attaching, return_exceptions=True)
            raise

    async def detach(self, digest: str) -> None:
        """See ``Engine``."""
        self._room.attached.pop(digest, None)
        self._send(lambda: self._room.forget(digest))

    def prefetch(self, digest: str) -> None:
        """See ``Engine``."""
        self._send(lambda: self._room.prefetch(digest))

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
            ticket.row.abandoned = True
            self._tickets.discard(ticket)
            self._thread.wake()  # what waits for memory need not wait for another step

    async def next_token_logits(self, token_ids: Sequence[int], adapter: str | None) -> torch.Tensor:
        """See ``Engine``."""
        if self._closing:
            raise DomainError(Reason.CANCELLED, "The base is being unloaded. Send it again.")
        step = _SingleStep(token_ids, adapter)
        self._send(lambda: self._compute_single(step))
        return await asyncio.wrap_future(step.logits)

    async def close(self) -> None:
        """See ``Engine``."""
        with self._lock:
            self._closing = True
        self._thread.wake()
        for ticket in list(self._tickets):
            ticket.events.put(DomainError(Reason.CANCELLED, "The base is being unloaded. Send it again."))
        await asyncio.to_thread(self._ended.wait)
        self._model.close()

    def _attach(self, adapter: AdapterWeights) -> Attached:
        attached, told = self._attacher.prepare(adapter)
        self._room.attached[adapter.digest] = attached
        return told

    def _enter(self, request: EngineRequest) -> _Ticket:
        """Put a request into the queue.

        Raises:
            DomainError: QUEUE_FULL; LIMIT_EXCEEDED for one that no memory is enough for; INTERNAL without its adapter.
        """
        waiting = len(self._tickets) - self._max_rows
        if waiting >= self._queue_size:
            raise self._queue_full(waiting)
        longest = min(len(request.token_ids) + request.max_tokens, self._context_length)
        if not self._room.fits(longest):
            raise DomainError(
                Reason.LIMIT_EXCEEDED,
                f"Prompt and answer take {longest} positions, more than the memory for keys and values holds "
                "(TENON_INFERENCE_KV_BYTES). Send a shorter prompt, or ask for fewer tokens.",
            )
        adapter = None
        if request.adapter is not None:
            adapter = self._room.attached.get(request.adapter)
            if adapter is None:  # never answered by the base instead
                raise DomainError(Reason.INTERNAL, f"The adapter {request.adapter} is not attached.")
        picker = RowPicker(
            request.sampling,
            request.token_ids,
            self._vocabulary_size,
            request.stop_token_ids,
            request.constraint,
            adapter=request.adapter,
        )
        ticket = _Ticket(Row(request, time.monotonic(), adapter), asyncio.get_running_loop(), picker)
        self._tickets.add(ticket)
        with self._lock:
            if self._closing:
                self._tickets.discard(ticket)
                raise DomainError(Reason.CANCELLED, "The base is being unloaded. Send it again.")
            self._inbox.append(ticket)
        self._thread.wake()
        return ticket

    def _queue_full(self, waiting: int) -> DomainError:
        return DomainError(
            Reason.QUEUE_FULL,
            f"{waiting} requests are waiting for this base, which is all that it takes. Try again later.",
            {"waiting": str(waiting)},
            retry_after=min(max(self._seconds, SHORTEST_RETRY), LONGEST_RETRY),
        )

    def _send(self, errand: Callable[[], None]) -> None:
        """Have something done in the engine's thread, before the next step."""
        with self._lock:
            self._errands.append(errand)
        self._thread.wake()

    # What follows runs in the engine's thread.

    def turn(self) -> float | None:
        """See ``Worker``."""
        try:
            if self._collect():
                self._thread.leave(self)
                self._ended.set()
                return None
            return self._advance() if self._of else None
        except Exception:
            # Nothing that is known of raises here; whatever it is, requests to come are not to wait for ever.
            log.exception("a step failed outside of its computation")
            self._fail(list(self._of), DomainError(Reason.INTERNAL, "The engine failed. Send it again."))
            return 0

    def _collect(self) -> bool:
        """Take what came in; True when it is time to end."""
        with self._lock:
            inbox, self._inbox = self._inbox, deque()
            errands, self._errands = self._errands, deque()
            closing = self._closing
        for ticket in inbox:
            self._of[ticket.row] = ticket
            self._scheduler.submit(ticket.row)
        for errand in errands:
            try:
                errand()
            except Exception:  # whatever was asked for, it is no part of anybody's answer
                log.exception("an errand failed")
        return closing

    def _advance(self) -> float:
        """Plan and compute one step; says how long to wait for the next."""
        for row in [row for row in self._of if row.abandoned]:
            self._end(row)
        try:
            pieces = self._scheduler.plan()
        except NoRoomError as error:
            self._fail([error.row], DomainError(Reason.OUT_OF_MEMORY, "There is no memory left for this request."))
            return 0
        except RoomFailedError as error:
            log.exception("no room could be made")
            self._fail([error.row], computing_failure(error.error))
            return 0
        if not pieces:  # whoever waits does so for memory that is being given back
            return RECHECK
        started = time.monotonic()
        try:
            self._room.tidy()
            with self._thread.computing():
                rows, logits = self._model.compute(pieces, self._room.place)
            picked = pick(logits, [self._of[row].picker for row in rows]) if rows else []
        except Exception as error:  # noqa: BLE001  # told to those whose step it was
            self._fail([piece.row for piece in pieces], computing_failure(error))
            return 0
        self._scheduler.advance(pieces)
        self._deliver(rows, picked)
        self._observe(pieces, time.monotonic() - started)
        return 0

    def _deliver(self, rows: Sequence[Row], picked: Sequence[Picked | DomainError]) -> None:
        """Append the tokens picked, end rows that are done, and tell everybody in one call."""
        told: list[tuple[_Ticket, TokenEvent | Exception]] = []
        try:
            for row, result in zip(rows, picked, strict=True):
                self._take(row, result, told)
        finally:
            self._tell(told)

    def _take(self, row: Row, result: Picked | DomainError, told: list[tuple[_Ticket, TokenEvent | Exception]]) -> None:
        ticket = self._of[row]
        if isinstance(result, DomainError):
            row.sound = False
            told.append((ticket, result))
            self._end(row)
            return
        row.tokens.append(result.token_id)
        row.sound = True
        finish = self._finish(ticket)
        told.append((ticket, TokenEvent(result.token_id, finish, result.logprobs)))
        if finish is not None:
            self._end(row)
        elif row.answered == 1:
            self._room.keep(row)

    def _finish(self, ticket: _Ticket) -> FinishReason | None:
        if ticket.picker.ended:
            return FinishReason.STOP
        return FinishReason.LENGTH if ticket.row.answered == ticket.row.request.max_tokens else None

    def _end(self, row: Row) -> None:
        ticket = self._of.pop(row)
        self._scheduler.finish(row)
        self._seconds += 0.2 * (time.monotonic() - row.arrived - self._seconds)
        del ticket

    def _fail(self, rows: Sequence[Row], error: Exception) -> None:
        """End rows with an error; what they computed is used by nobody."""
        told: list[tuple[_Ticket, TokenEvent | Exception]] = []
        for row in rows:
            row.sound = False
            told.append((self._of[row], copy(error)))  # one that several raised would tell of all of them
            try:
                self._end(row)
            except Exception:  # the others must end all the same
                log.exception("a row could not be ended")
        self._tell(told)

    def _observe(self, pieces: Sequence[Piece], seconds: float) -> None:
        decoding = sum(piece.count == 1 and piece.row.answered > 0 for piece in pieces)
        prefilled = sum(piece.count for piece in pieces) - decoding
        self._pace.observe(decoding, prefilled, seconds)
        self._observer.stepped(decoding=decoding, prefilled=prefilled, seconds=seconds)

    def _compute_single(self, step: _SingleStep) -> None:
        if not step.logits.set_running_or_notify_cancel():
            return
        try:
            adapter = None
            if step.adapter is not None:
                adapter = self._room.attached[step.adapter]
            logits = self._model.next_token_logits(step.token_ids, adapter)
            step.logits.set_result(logits.to(dtype=torch.float32, device="cpu"))
        except Exception as error:  # noqa: BLE001  # raised again where it is awaited
            step.logits.set_exception(computing_failure(error))

    def _tell(self, told: Sequence[tuple[_Ticket, TokenEvent | Exception]]) -> None:
        """Put events into the mailboxes of their requests, with one call for each event loop."""
        loops: dict[asyncio.AbstractEventLoop, list[tuple[_Ticket, TokenEvent | Exception]]] = {}
        for ticket, event in told:
            loops.setdefault(ticket.loop, []).append((ticket, event))
        for loop, events in loops.items():
            with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                loop.call_soon_threadsafe(self._put, events)

    def _put(self, events: Sequence[tuple[_Ticket, TokenEvent | Exception]]) -> None:
        """Runs in the event loop. Who is answered waits no longer, however slowly the answer is read."""
        for ticket, event in events:
            ticket.events.put(event)
            if isinstance(event, Exception) or event.finish is not None:
                self._tickets.discard(ticket)
