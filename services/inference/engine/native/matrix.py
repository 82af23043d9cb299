"""Matrices as the kernels read them."""

import math
from typing import Final, Self

import torch
from torch import Tensor

from services.inference.engine import heap
from services.inference.engine.native.kernels import AS_IT_IS, Before, Kernels, MatrixTable, aligned

AT_A_TIME: Final = 2**24
"""Bytes that are packed before the memory of what was packed is given back."""


class NativeMatrix:
    """A matrix, packed as the kernels read it."""

    def __init__(self, kernels: Kernels, outputs: int, inputs: int) -> None:
        """Make room for one; ``write`` fills it."""
        self._kernels = kernels
        panel = kernels.panel
        self.outputs, self.inputs = outputs, inputs
        self._panels = aligned(math.ceil(outputs / panel) * panel * inputs).view(-1, inputs, panel)
        self._native = MatrixTable(self._panels.data_ptr(), None, outputs, inputs)
        self._bias: Tensor | None = None

    @classmethod
    def whole(cls, kernels: Kernels, rows: Tensor, bias: Tensor | None) -> Self:
        """Pack a contiguous matrix [out, in], which is of no use any more afterwards, and give its memory back on the way."""
        matrix = cls(kernels, rows.shape[0], rows.shape[1])
        matrix.use_bias(bias)
        each = kernels.panel * max(1, AT_A_TIME // (kernels.panel * matrix.inputs * rows.itemsize))
        for first in range(0, matrix.outputs, each):
            part = rows[first : first + each]
            matrix.write(first, part)
            heap.drop(part)
        return matrix

    def write(self, first: int, rows: Tensor) -> None:
        """Pack some rows [rows, in], the first a multiple of the panel."""
        to = self._panels[first // self._kernels.panel :]
        self._kernels.pack(rows, to)

    def use_bias(self, bias: Tensor | None) -> None:
        """Add a bias [out] to all products."""
        self._bias = None if bias is None else bias.contiguous()
        self._native.bias = None if self._bias is None else self._bias.data_ptr()

    @property
    def rows(self) -> "NativeRows":
        """Its rows, to be read one by one."""
        return NativeRows(self._panels, self.outputs)

    def dense(self) -> Tensor:
        """The matrix [out, in], unpacked for this call."""
        return self._panels.transpose(1, 2).reshape(-1, self.inputs)[: self.outputs]

    def product(
        self, x: Tensor, before: Before = AS_IT_IS, residual: Tensor | None = None, kept: Tensor | None = None
    ) -> Tensor:
        """Compute outputs [tokens, out], with the bias.

        Args:
            x: [tokens, in], or twice as wide before a gate.
            before: what the inputs are made of.
            residual: [tokens, out], which is added, or None.
            kept: [tokens, in], which becomes what the inputs were made to; or None.
        """
        return self._kernels.linear(self._native, x, before, residual, kept)


class NativeRows:
    """Reads rows of a packed matrix where they lie."""

    def __init__(self, panels: Tensor, count: int) -> None:
        """Read [panels, in, panel], the rows of each beside each other."""
        self._panels, self._count = panels, count

    def __len__(self) -> int:
        """Rows there are."""
        return self._count

    def __call__(self, ids: Tensor) -> Tensor:
        """Rows [..., in] of some ids."""
        panel = self._panels.shape[2]
        return self._panels[torch.div(ids, panel, rounding_mode="floor"), :, ids % panel]
