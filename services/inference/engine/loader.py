"""Makes the engine that suits a model: batched where its rows compute together, else one request at a time."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch

from services.common.bases.loader import context_length, load_model
from services.common.identity import BaseFingerprint, OpenBase
from services.inference.engine import heap
from services.inference.engine.batched.engine import BatchedEngine
from services.inference.engine.batched.graphs import Recorder, recorder_for
from services.inference.engine.batched.kv import KvMemory
from services.inference.engine.batched.model import BatchedModel, NotBatchableError
from services.inference.engine.batched.prefix import PrefixCache
from services.inference.engine.batched.room import EngineRoom
from services.inference.engine.batched.slots import Slots
from services.inference.engine.formats import AUTO, choose_dtype
from services.inference.engine.native.compiler import CompilingError, compiled
from services.inference.engine.native.kernels import Kernels
from services.inference.engine.protocol import Engine, EngineObserver
from services.inference.engine.sequential.engine import SequentialEngine
from services.inference.engine.threads import EngineThread, in_own_thread

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What all engines of a server share.

    Attributes:
        dtype: ``auto``, or a format by name.
        device: where bases compute.
        queue_size: most requests that wait for a base.
        batch_rows: most requests of a base that compute together.
        slots: most adapters of a base that take part in one step.
        kv_bytes: memory for keys and values of a base's requests.
        prefix_bytes: memory for those of texts that may come again.
        kernels_dir: keeps the kernels that are compiled for this processor; None: none are used.
    """

    dtype: str = AUTO
    device: str = "cpu"
    queue_size: int = 64
    batch_rows: int = 64
    slots: int = 64
    kv_bytes: int = 2**30
    prefix_bytes: int = 2**28
    kernels_dir: Path | None = None


class AutoEngineLoader:
    """Implements ``EngineLoader``."""

    def __init__(
        self, options: EngineOptions, recorder_for: Callable[[torch.device], Recorder | None] = recorder_for
    ) -> None:
        """Take what all engines share.

        Args:
            options: of all.
            recorder_for: what records the steps of a base that computes on a device, if anything does.
        """
        self._options = options
        self._recorder_for = recorder_for
        self._thread = EngineThread()
        self._compiling = threading.Lock()
        self._tried = False
        self._found: Kernels | None = None

    def estimate(self, fingerprint: BaseFingerprint) -> int:
        """See ``EngineLoader``; a small base needs less than its budgets."""
        weights = fingerprint.parameter_count * self._dtype(fingerprint).itemsize
        return weights + self._options.kv_bytes + self._options.prefix_bytes

    async def load(self, opened: OpenBase, fingerprint: BaseFingerprint, observer: EngineObserver) -> Engine:
        """See ``EngineLoader``."""
        loading = asyncio.ensure_future(in_own_thread(self._load, opened, fingerprint, observer))
        try:
            engine = await asyncio.shield(loading)
        except asyncio.CancelledError:
            # A thread cannot be stopped. An engine that nobody waits for any more would take its turns for ever.
            for made in await asyncio.gather(loading, return_exceptions=True):
                if not isinstance(made, BaseException):
                    await made.close()
            raise
        heap.give_back()
        return engine

    def _dtype(self, fingerprint: BaseFingerprint) -> torch.dtype:
        return choose_dtype(fingerprint, self._options.device, self._options.dtype)

    def _load(self, opened: OpenBase, fingerprint: BaseFingerprint, observer: EngineObserver) -> Engine:
        dtype = self._dtype(fingerprint)
        model = load_model(opened, dtype=dtype, device=self._options.device)
        tensors = sum(1 for _ in model.parameters())
        vocabulary = model.get_input_embeddings().get_parameter("weight").shape[0]
        context = context_length(model.config)
        try:
            batched = BatchedModel(model, fingerprint.modules, self._kernels(), self._recorder_for(model.device))
        except NotBatchableError as reason:
            log.warning("requests are taken one at a time", why=str(reason))
            if reason.damaged:
                del model
                model = load_model(opened, dtype=dtype, device=self._options.device)
            return SequentialEngine(
                model, fingerprint.modules, observer, queue_size=self._options.queue_size, note=str(reason)
            )
        return self._batched(batched, observer, context=context, vocabulary=vocabulary, tensors=tensors)

    def _kernels(self) -> Kernels | None:
        """The kernels of this process, or None where there are none; why is told once."""
        with self._compiling:
            if self._options.kernels_dir is not None and not self._tried:
                self._tried = True
                try:
                    self._found = Kernels(compiled(self._options.kernels_dir))
                except CompilingError as why:
                    log.warning("bases are computed without kernels for this processor, more slowly", why=str(why))
            return self._found

    def _batched(
        self, model: BatchedModel, observer: EngineObserver, *, context: int, vocabulary: int, tensors: int
    ) -> BatchedEngine:
        options, dtype, device = self._options, model.dtype, model.device
        most_tokens = options.batch_rows * context
        memory = KvMemory(
            model.layers, budget_bytes=options.kv_bytes, most_tokens=most_tokens, dtype=dtype, device=device
        )
        prefixes = PrefixCache(model.layers, budget_bytes=options.prefix_bytes, dtype=dtype, device=device)
        slots = Slots(count=options.slots, device=device)
        model.use_memory(memory)
        return BatchedEngine(
            model,
            EngineRoom(memory, prefixes, slots, observer),
            self._thread,
            context_length=context,
            vocabulary_size=vocabulary,
            size_bytes=model.size_bytes + memory.size_bytes + prefixes.size_bytes,
            tensor_count=tensors,
            max_rows=options.batch_rows,
            queue_size=options.queue_size,
            observer=observer,
        )
