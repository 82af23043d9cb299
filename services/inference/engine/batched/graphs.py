"""Steps of generated tokens, recorded once and replayed.

A processor needs longer to tell a GPU the hundreds of operations of a small step, one by one, than the GPU needs to do them. So the
operations are told once, for so many rows of at most such a length, and after that only what differs: tokens, places, slots.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
import torch
from torch import Tensor

from services.inference.engine.batched.arrangement import Gathered, Tokens
from services.inference.engine.batched.attention import GatheredPlan
from services.inference.engine.batched.packing import Place
from services.inference.engine.batched.rows import Piece
from services.inference.engine.batched.slots import Bank

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

SHORTEST: Final = 64
"""Positions of the shortest recorded step; each further one is of twice as many."""

MOST_POSITIONS: Final = 2**17
"""Positions of all rows of a recorded step, for which every layer copies keys and values. Beyond, a step is told anew."""

MOST_GRAPHS: Final = 64
"""Recorded steps that are kept."""

Work = Callable[[], Tensor]


class Recorder(Protocol):
    """Records operations."""

    def record(self, work: Work) -> Work:
        """Record what a call does.

        Args:
            work: reads and writes tensors that stay; may be called several times, for it does the same each time.

        Returns:
            A call that does the same operations with what the tensors hold by then, and returns the same tensor each time.
        """


class CudaRecorder:
    """Records as CUDA graphs, which share their memory."""

    def __init__(self, device: torch.device) -> None:
        """Record for a GPU."""
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, work: Work) -> Work:
        """See ``Recorder``."""
        with torch.cuda.device(self._device):
            aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                work()  # libraries set themselves up at the first call, which cannot be recorded
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            # Other threads load bases and attach adapters meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, stream=aside, capture_error_mode="thread_local"):
                found = work()

        def replay() -> Tensor:
            with torch.cuda.device(self._device):
                graph.replay()
            return found

        return replay


def recorder_for(device: torch.device) -> Recorder | None:
    """What records on a device, or None where operations are told as fast as they are done."""
    return CudaRecorder(device) if device.type == "cuda" else None


class Compute(Protocol):
    """Computes logits [rows, vocabulary] of a token for each row."""

    def __call__(self, ids: Tensor, positions: Tensor, plan: GatheredPlan, tokens: Tokens | None) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class _Shape:
    """What recorded steps differ in.

    Attributes:
        rows: how many, at most.
        longest: positions of the longest row, at most.
        banks: whose adapters take part.
    """

    rows: int
    longest: int
    banks: tuple[Bank, ...]


@dataclass(frozen=True, slots=True)
class _Graph:
    """A recorded step.

    Attributes:
        numbers: int64 [3 + banks, rows]: token, position, where the span begins, and the slot in each bank or -1.
        sizes: of the banks when it was recorded; larger ones lie elsewhere.
        replay: computes the logits.
    """

    numbers: Tensor
    sizes: tuple[int, ...]
    replay: Work


class StepGraphs:
    """Recorded steps of one engine. Belongs to the engine's thread."""

    def __init__(self, compute: Compute, recorder: Recorder, device: torch.device) -> None:
        """Begin with none recorded."""
        self._compute = compute
        self._recorder = recorder
        self._device = device
        self._graphs: OrderedDict[_Shape, _Graph] = OrderedDict()
        self._broken = False

    @property
    def in_use(self) -> bool:
        """Whether any step is recorded."""
        return bool(self._graphs)

    def compute(self, pieces: Sequence[Piece], place_of: Callable[[Piece], Place]) -> Tensor | None:
        """Compute logits [pieces, vocabulary]; None where the step is not of a kind that is recorded.

        Recorded are steps in which every row computes the token that it generated last, with adapters that change linear modules only.
        """
        if self._broken or not pieces or not all(piece.row.decoding for piece in pieces):
            return None
        places = [place_of(piece) for piece in pieces]
        if any(place.others for place in places):
            return None
        longest = max(piece.row.computed + 1 for piece in pieces)
        banks = sorted({place.bank for place in places if place.bank is not None}, key=id)
        shape = _Shape(_rounded(len(pieces)), max(_rounded(longest), SHORTEST), tuple(banks))
        if shape.rows * shape.longest > MOST_POSITIONS:
            return None
        numbers = _numbers(pieces, places, shape)
        graph = self._graph(shape, numbers)
        return None if graph is None else graph.replay()[: len(pieces)]

    def _graph(self, shape: _Shape, numbers: Tensor) -> _Graph | None:
        """The recorded step of a shape, its numbers set; None where it cannot be recorded."""
        sizes = tuple(bank.size for bank in shape.banks)
        graph = self._graphs.pop(shape, None)
        try:
            if graph is None or graph.sizes != sizes:
                del graph  # its memory first
                graph = self._record(shape, numbers, sizes)
        except Exception:
            log.exception("steps cannot be recorded, and are told operation by operation")
            self._broken = True
            self._graphs.clear()
            return None
        graph.numbers.copy_(numbers)
        self._graphs[shape] = graph
        if len(self._graphs) > MOST_GRAPHS:
            self._graphs.popitem(last=False)
        return graph

    def _record(self, shape: _Shape, first: Tensor, sizes: tuple[int, ...]) -> _Graph:
        numbers = first.to(self._device, copy=True)
        ids, positions, begins, *slots = numbers

        def work() -> Tensor:
            parts = [
                (bank.window(slice(0, size)), Gathered(slice(0, size), slot_of))
                for bank, size, slot_of in zip(shape.banks, sizes, slots, strict=True)
            ]
            tokens = Tokens(shape.rows, parts, {}) if parts else None
            return self._compute(ids, positions, GatheredPlan(begins, positions, shape.longest), tokens)

        return _Graph(numbers, sizes, self._recorder.record(work))


def _rounded(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()


def _numbers(pieces: Sequence[Piece], places: Sequence[Place], shape: _Shape) -> Tensor:
    """What a step is told, int64 [3 + banks, rows]; rows that there are not do what the last does, and write the same."""
    rows = [
        [piece.row.tokens[-1], piece.row.computed, place.span.begin, *(_slot(place, bank) for bank in shape.banks)]
        for piece, place in zip(pieces, places, strict=True)
    ]
    rows += [rows[-1]] * (shape.rows - len(rows))
    return torch.tensor(rows).T.contiguous()


def _slot(place: Place, bank: Bank) -> int:
    return place.slot if place.bank is bank else -1
