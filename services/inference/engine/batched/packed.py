"""Weights as oneDNN packs them, and how their rows are read where they lie.

Many models use one matrix twice: its rows for the tokens that come in, all of it for the logits that go out. Packed, it is multiplied up to
twice as fast; a second copy for the rows would cost a small model a quarter of its memory. So rows are picked out of the packed matrix.
"""

import ctypes
import math
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, Protocol

import torch
from torch import Tensor, nn

from services.inference.engine import heap
from services.inference.engine.native.matrix import NativeMatrix

PACKED_ROWS: Final = 16
"""Rows that packed weights are laid out for; measured best from 1 to 256."""

BLOCKS: Final = (64, 48, 32, 24, 16, 8)
"""Rows that oneDNN lays between each other, whichever suits the processor."""

PAIRS: Final = (1, 2, 4)
"""Neighbouring numbers of a row that stay together; two or more in short formats."""

ENDS: Final = 128
SAMPLE: Final = 128
"""Rows, besides the first and the last ``ENDS``, that a guess at the order is tried on."""


def packs(matrix: Tensor) -> bool:
    """Whether oneDNN computes with such a matrix here."""
    if matrix.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if matrix.dtype is torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001
    return matrix.dtype is torch.float32


def pack(matrix: Tensor) -> Tensor:
    """Pack a matrix [out, in]."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(matrix, PACKED_ROWS)  # noqa: SLF001
    return packed


class PackedMatrix:
    """A matrix in packed pieces, each some of its rows.

    A large one is packed piece by piece, and the memory of what is packed given back in between: so that a base that is being loaded
    never takes much more than its weights.
    """

    LARGEST: Final = 2**26
    """Bytes of a matrix that is packed as a whole."""

    PIECES: Final = 4

    def __init__(self, pieces: Sequence[Tensor]) -> None:
        """Take pieces, each packed, in the order of their rows."""
        self.pieces = tuple(pieces)

    @classmethod
    def whole(cls, matrix: Tensor) -> "PackedMatrix":
        """Pack a matrix [out, in], which is of no use any more afterwards."""
        return cls([pack(matrix)]) if matrix.nbytes <= cls.LARGEST else cls([*cls._consumed(matrix)])

    @classmethod
    def split(cls, matrix: Tensor) -> list[Tensor]:
        """The rows of each piece, as views."""
        return [matrix] if matrix.nbytes <= cls.LARGEST else list(matrix.chunk(cls.PIECES))

    @classmethod
    def _consumed(cls, matrix: Tensor) -> Iterator[Tensor]:
        for part in cls.split(matrix):
            yield pack(part)
            heap.drop(part)

    def dense(self) -> Tensor:
        """The matrix [out, in], unpacked for this call."""
        return torch.cat([piece.to_dense() for piece in self.pieces])

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """``x`` [..., in] times the matrix, plus a bias, [..., out]."""
        multiply = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001
        if len(self.pieces) == 1:
            product: Tensor = multiply(x, self.pieces[0], bias, "none", [], "")
            return product
        y = torch.cat([multiply(x, piece, None, "none", [], "") for piece in self.pieces], -1)
        return y if bias is None else y.add_(bias)

    def product_onto(self, x: Tensor, bias: Tensor | None, residual: Tensor) -> Tensor:
        """The same, plus ``residual`` [..., out]."""
        if len(self.pieces) > 1:
            return self.product(x, bias).add_(residual)
        add = torch.ops.mkldnn._linear_pointwise.binary  # noqa: SLF001
        sums: Tensor = add(x, residual, self.pieces[0], bias, "add")
        return sums


class Rows(Protocol):
    """Rows of a packed matrix."""

    def __len__(self) -> int: ...

    def __call__(self, ids: Tensor) -> Tensor: ...


class PackedRows:
    """Reads rows of a matrix that oneDNN packed."""

    def __init__(self, packed: Tensor, rows: int, width: int, block: int, pair: int) -> None:
        """Assume an order.

        Args:
            packed: [rows, width].
            rows: of the matrix.
            width: of a row.
            block: rows that lie between each other.
            pair: neighbouring numbers of a row that stay together.
        """
        self._packed = packed  # keeps the memory
        size = torch.ops.mkldnn._nbytes(packed)  # noqa: SLF001
        memory = (ctypes.c_byte * size).from_address(torch.ops.mkldnn.data_ptr(packed))
        self._numbers = torch.frombuffer(memory, dtype=packed.dtype)
        # What a block takes, filled up to whole numbers as it may be.
        stride = len(self._numbers) // math.ceil(rows / block)
        row, column = torch.arange(rows), torch.arange(width)
        self._of_row = row // block * stride + row % block * pair
        self._of_column = column // pair * (block * pair) + column % pair
        self._count = rows
        self.fits = int(self._of_row[-1] + self._of_column[-1]) < len(self._numbers)

    @classmethod
    def find(cls, packed: Tensor, matrix: Tensor) -> "PackedRows | None":
        """Find out in which order a matrix was packed, or None where it is none that is known here."""
        rows, width = matrix.shape
        ends = [*range(min(rows, ENDS)), *range(max(rows - ENDS, 0), rows)]
        ids = torch.cat(
            [torch.tensor(ends), torch.randint(rows, (SAMPLE,), generator=torch.Generator().manual_seed(0))]
        )
        for block in BLOCKS:
            for pair in PAIRS:
                found = cls(packed, rows, width, block, pair)
                if found.fits and torch.equal(found(ids), matrix[ids]):
                    return found
        return None

    def __len__(self) -> int:
        """Rows there are."""
        return self._count

    def __call__(self, ids: Tensor) -> Tensor:
        """Rows [..., width] of some ids."""
        return self._numbers[self._of_row[ids].unsqueeze(-1) + self._of_column]


class PackedEmbedding(nn.Embedding):
    """Takes the place of an Embedding whose matrix also makes the logits, and is packed for that."""

    looks_up_rows = True
    """It computes what a plain Embedding does (``changes.is_changeable``)."""

    def __init__(self, matrix: "PackedMatrix | NativeMatrix", rows: Sequence[Rows], shape: tuple[int, int]) -> None:
        """Read rows of a packed matrix.

        Args:
            matrix: [rows, width].
            rows: of each of its pieces, one after another.
            shape: of the matrix.
        """
        nn.Module.__init__(self)
        self.num_embeddings, self.embedding_dim = shape
        self._matrix, self._rows = matrix, tuple(rows)
        self._begins = list(accumulate([0, *(len(piece) for piece in rows[:-1])]))

    @classmethod
    def share(cls, matrix: Tensor) -> "tuple[PackedMatrix, PackedEmbedding] | None":
        """Pack a matrix that is used in both ways; None, and no change, where rows could not be read.

        The matrix is of no use any more afterwards.
        """
        pieces: list[Tensor] = []
        found: list[PackedRows] = []
        for part in PackedMatrix.split(matrix):
            pieces.append(pack(part))
            rows = PackedRows.find(pieces[-1], part)
            if rows is None and not found:
                return None
            if rows is None:  # the first piece could be read, and this one is of the same kind
                raise RuntimeError("pieces of one matrix are packed in different orders")
            found.append(rows)
            heap.drop(part)
        packed = PackedMatrix(pieces)
        return packed, cls(packed, found, (matrix.shape[0], matrix.shape[1]))

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The matrix [rows, width], unpacked for this call."""
        return self._matrix.dense()

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that nn.Embedding gives it
        """Look rows up, [..., width]."""
        y = self._rows[0](input.clamp(max=len(self._rows[0]) - 1))
        for begin, rows in zip(self._begins[1:], self._rows[1:], strict=True):
            here = (input >= begin) & (input < begin + len(rows))
            y = torch.where(here.unsqueeze(-1), rows((input - begin).clamp(0, len(rows) - 1)), y)
        return y
