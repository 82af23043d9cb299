"""The kernels as functions of tensors: float32, dense, on the processor."""

import ctypes
import threading
from collections.abc import Sequence
from ctypes import POINTER, byref, c_float, c_int, c_size_t, c_void_p
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

PLAIN, NORM, GATE = range(3)
ALIGNMENT: Final = 64
"""Bytes; of packed matrices, which are read a cache line at a time."""


class _Before(ctypes.Structure):
    _fields_ = (("kind", c_int), ("weight", c_void_p), ("eps", c_float), ("kept", c_void_p))


class MatrixTable(ctypes.Structure):
    """Where a packed matrix and its bias lie."""

    _fields_ = (("packed", c_void_p), ("bias", c_void_p), ("outputs", c_size_t), ("inputs", c_size_t))


class _Part(ctypes.Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("b", "gain", "shift")),
        *((name, c_size_t) for name in ("low", "rank", "begin", "outputs")),
    )


class _Stack(ctypes.Structure):
    _fields_ = (
        ("a", c_void_p),
        *((name, c_size_t) for name in ("low", "inputs", "count")),
        ("parts", POINTER(_Part)),
    )


class _Heads(ctypes.Structure):
    _fields_ = (
        *((name, c_size_t) for name in ("heads", "shared", "width")),
        ("query_norm", c_void_p),
        ("key_norm", c_void_p),
        ("eps", c_float),
        ("scaling", c_float),
        ("window", c_size_t),
    )


@dataclass(frozen=True, slots=True)
class Before:
    """What the inputs of a product are made of.

    Attributes:
        kind: PLAIN; NORM, a root mean square norm; GATE, ``silu(gate) * up`` of ``gate | up``.
        weight: [in] of a norm.
        eps: of a norm.
    """

    kind: int
    weight: Tensor | None = None
    eps: float = 0.0


AS_IT_IS: Final = Before(PLAIN)


@dataclass(frozen=True, slots=True)
class HeadShape:
    """Heads of a layer.

    Attributes:
        heads: of queries.
        shared: of keys and values.
        width: of each.
        norms: [width] weights of the norms of queries and of keys, and their epsilon; or None.
        scaling: factor of all scores.
        window: positions that are seen, the own one included, or None for all.
    """

    heads: int
    shared: int
    width: int
    norms: tuple[Tensor, Tensor, float] | None
    scaling: float
    window: int | None


@dataclass(frozen=True, slots=True)
class AdaptedPart:
    """What adapters do to some outputs, as ``forms.StackPart`` has it."""

    low: int
    begin: int
    b: Tensor
    gain: Tensor | None
    shift: Tensor | None


class AdapterTable:
    """Where the adapters of a group of modules lie; holds on to their memory."""

    def __init__(self, a: Tensor, parts: Sequence[AdaptedPart]) -> None:
        """Look at tensors that stay where they are.

        Args:
            a: [slots, numbers of all parts, in].
            parts: with B [slots, rank, out].
        """
        self._held = (a, tuple(parts))
        self._parts = (_Part * len(parts))(*(_part(part) for part in parts))
        self.stack = _Stack(a.data_ptr(), a.shape[1], a.shape[2], len(parts), self._parts)


class Kernels:
    """The kernels of a process; any thread may call them."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Use a library that ``compiler.compiled`` gave."""
        self._library = library
        self._scratch = threading.local()
        self._threads = torch.get_num_threads()
        library.tenon_scratch.restype = c_size_t
        library.tenon_scratch.argtypes = (c_size_t, c_size_t)
        library.tenon_pack.argtypes = (c_void_p, c_void_p, c_size_t, c_size_t)
        matrix, before, stack, heads = (POINTER(kind) for kind in (MatrixTable, _Before, _Stack, _Heads))
        pointer, count = c_void_p, c_size_t
        library.tenon_linear.argtypes = (matrix, before, *[pointer] * 3, count, pointer, count)
        library.tenon_adapt.argtypes = (stack, *[pointer] * 3, count, count)
        library.tenon_turn.argtypes = (heads, *[pointer] * 6, count)
        library.tenon_attend.argtypes = (heads, *[pointer] * 6, count)
        for name in ("pack", "linear", "adapt", "turn", "attend"):
            getattr(library, f"tenon_{name}").restype = None
        self.panel = int(library.tenon_panel())

    def pack(self, matrix: Tensor, to: Tensor) -> None:
        """Pack a matrix [out, in] to the beginning of [panels, in, panel]."""
        matrix = matrix.contiguous()
        self._library.tenon_pack(matrix.data_ptr(), to.data_ptr(), *matrix.shape)

    def linear(
        self, matrix: MatrixTable, x: Tensor, before: Before, residual: Tensor | None, kept: Tensor | None
    ) -> Tensor:
        """See ``NativeMatrix.product``."""
        x = x.contiguous()
        y = x.new_empty(x.shape[0], matrix.outputs)
        weight = None if before.weight is None else before.weight.data_ptr()
        kept_at = None if kept is None else kept.data_ptr()
        residual = None if residual is None else residual.contiguous()
        scratch = self._scratch_for(matrix.inputs)
        self._library.tenon_linear(
            byref(matrix),
            byref(_Before(before.kind, weight, before.eps, kept_at)),
            x.data_ptr(),
            None if residual is None else residual.data_ptr(),
            y.data_ptr(),
            x.shape[0],
            scratch,
            self._threads,
        )
        return y

    def adapt(self, table: AdapterTable, slots: Tensor, x: Tensor, y: Tensor) -> None:
        """Add to outputs what each token's adapter makes of its inputs.

        Args:
            table: of adapters.
            slots: int32 [tokens].
            x: [tokens, in].
            y: [tokens, out] of the whole group.
        """
        self._library.tenon_adapt(
            byref(table.stack), slots.data_ptr(), x.data_ptr(), y.data_ptr(), slots.shape[0], y.stride(0)
        )

    def turn(
        self,
        heads: "NativeHeads",
        qkv: Tensor,
        turn: tuple[Tensor, Tensor],
        places: Tensor,
        memory: tuple[Tensor, Tensor],
    ) -> None:
        """Turn queries where they are, and put keys and values where they are kept.

        Args:
            heads: of the layer.
            qkv: [tokens, (heads + 2 shared) * width].
            turn: cosine and sine, each [tokens, width / 2].
            places: int64 [tokens].
            memory: keys and values, each [positions, shared, width].
        """
        cos, sin = turn
        keys, values = memory
        self._library.tenon_turn(
            byref(heads.native),
            qkv.data_ptr(),
            cos.data_ptr(),
            sin.data_ptr(),
            places.data_ptr(),
            keys.data_ptr(),
            values.data_ptr(),
            qkv.shape[0],
        )

    def attend(
        self,
        heads: "NativeHeads",
        qkv: Tensor,
        places: Tensor,
        positions: Tensor,
        memory: tuple[Tensor, Tensor],
        out: Tensor,
        tokens: int,
    ) -> None:
        """Attend for the first tokens, one of each row.

        Args:
            heads: of the layer.
            qkv: [at least tokens, ...], turned.
            places: int64 [at least tokens] of each in memory.
            positions: int64 [at least tokens] of each in its row.
            memory: keys and values, each [positions, shared, width].
            out: [at least tokens, heads * width], is written.
            tokens: how many.
        """
        keys, values = memory
        self._library.tenon_attend(
            byref(heads.native),
            qkv.data_ptr(),
            places.data_ptr(),
            positions.data_ptr(),
            keys.data_ptr(),
            values.data_ptr(),
            out.data_ptr(),
            tokens,
        )

    def _scratch_for(self, inputs: int) -> int:
        """Memory for laying inputs out; each thread has its own."""
        wanted = self._library.tenon_scratch(inputs, self._threads)
        scratch: Tensor | None = getattr(self._scratch, "tensor", None)
        if scratch is None or len(scratch) < wanted:
            scratch = self._scratch.tensor = aligned(wanted)
        return scratch.data_ptr()


class NativeHeads:
    """Heads of a layer as the kernels know them."""

    def __init__(self, shape: HeadShape) -> None:
        """Take a shape."""
        self.shape = shape
        query, key, eps = shape.norms or (None, None, 0.0)
        self.native = _Heads(
            shape.heads,
            shape.shared,
            shape.width,
            None if query is None else query.data_ptr(),
            None if key is None else key.data_ptr(),
            eps,
            shape.scaling,
            shape.window or 0,
        )


def _part(part: AdaptedPart) -> _Part:
    gain = None if part.gain is None else part.gain.data_ptr()
    shift = None if part.shift is None else part.shift.data_ptr()
    return _Part(part.b.data_ptr(), gain, shift, part.low, part.b.shape[1], part.begin, part.b.shape[2])


def aligned(count: int) -> Tensor:
    """So many numbers, undefined, from the beginning of a cache line."""
    # Named, for what is the default belongs to the process, and a base that is being loaded elsewhere changes it.
    numbers = torch.empty(count + ALIGNMENT // 4, dtype=torch.float32)
    first = -numbers.data_ptr() % ALIGNMENT // 4
    return numbers[first : first + count]
