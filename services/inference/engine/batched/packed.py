"""Weights as oneDNN packs them, and how their rows are read where they lie.

Many models use one matrix twice: its rows for the tokens that come in, all of it for the logits that go out. Packed, it is multiplied up to
twice as fast; a second copy for the rows would cost a small model a quarter of its memory. So rows are picked out of the packed matrix.
"""

import ctypes
import math
from typing import Final

import torch
from torch import Tensor, nn

PACKED_ROWS: Final = 16
"""Rows that packed weights are laid out for; measured best from 1 to 256."""

BLOCKS: Final = (64, 48, 32, 24, 16, 8)
"""Rows that oneDNN lays between each other, whichever suits the processor."""

PAIRS: Final = (1, 2, 4)
"""Neighbouring numbers of a row that stay together; two or more in short formats."""

SAMPLE: Final = 1024
"""Rows, besides the first and the last ones, that a guess at the order is tried on."""


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


class PackedRows:
    """Reads rows of a packed matrix."""

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
        self.fits = int(self._of_row[-1] + self._of_column[-1]) < len(self._numbers)

    @classmethod
    def find(cls, packed: Tensor, matrix: Tensor) -> "PackedRows | None":
        """Find out in which order a matrix was packed, or None where it is none that is known here."""
        rows, width = matrix.shape
        ends = [*range(min(rows, 128)), *range(max(rows - 128, 0), rows)]
        ids = torch.cat(
            [torch.tensor(ends), torch.randint(rows, (SAMPLE,), generator=torch.Generator().manual_seed(0))]
        )
        for block in BLOCKS:
            for pair in PAIRS:
                found = cls(packed, rows, width, block, pair)
                if found.fits and torch.equal(found(ids), matrix[ids]):
                    return found
        return None

    def __call__(self, ids: Tensor) -> Tensor:
        """Rows [..., width] of some ids."""
        return self._numbers[self._of_row[ids].unsqueeze(-1) + self._of_column]


class PackedEmbedding(nn.Embedding):
    """Takes the place of an Embedding whose matrix also makes the logits, and is packed for that."""

    looks_up_rows = True
    """It computes what a plain Embedding does (``changes.is_changeable``)."""

    def __init__(self, packed: Tensor, rows: PackedRows, shape: tuple[int, int]) -> None:
        """Read rows of a packed matrix [rows, width]."""
        nn.Module.__init__(self)
        self.num_embeddings, self.embedding_dim = shape
        self._packed, self._rows = packed, rows

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The matrix [rows, width], unpacked for this call."""
        return self._packed.to_dense()

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that nn.Embedding gives it
        """Look rows up, [..., width]."""
        return self._rows(input)
