"""The modules of a model as the batched engine computes them: prepacked weights, and adapters added for all rows at once."""

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from services.inference.engine.batched.arrangement import Tokens

PACKED_ROWS: Final = 16
"""Rows that packed weights are laid out for; measured best from 1 to 256."""


@dataclass(eq=False, slots=True)
class Step:
    """What the modules need to know of the step that runs.

    Attributes:
        body: the tokens that all modules but the last see; None while there is no adapter among them.
        head: those whose logits are wanted, which the last module sees.
    """

    body: Tokens | None = None
    head: Tokens | None = None


class BatchedLinear(nn.Linear):
    """Takes the place of a Linear or Conv1D; its weight is packed where that is faster, and there is no other copy of it."""

    def __init__(self, name: str, module: nn.Linear | Conv1D, step: Step, *, head: bool, shared: bool) -> None:
        """Take a module over.

        Args:
            name: of the module in the model.
            module: loses its weight, unless it is shared.
            step: that runs.
            head: whether it makes the logits.
            shared: whether its weight is needed as it is, by an embedding.
        """
        nn.Module.__init__(self)
        matrix = module.weight.detach()
        self.transposed = isinstance(module, Conv1D)
        self._rows = matrix.T.contiguous() if self.transposed else matrix
        self.out_features, self.in_features = self._rows.shape
        self.bias = module.bias
        self._name, self._step, self._head, self._shared = name, step, head, shared
        self._plain = not _packs(self._rows)
        if not shared:
            del module.weight
            if not self._plain:
                self._rows = torch.ops.mkldnn._reorder_linear_weight(self._rows, PACKED_ROWS)  # noqa: SLF001

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The matrix [out, in], unpacked for this call."""
        return self._rows.to_dense() if self._rows.is_mkldnn else self._rows

    @property
    def packed(self) -> bool:
        """Whether the weight is packed."""
        return self._rows.is_mkldnn

    @property
    def own_bytes(self) -> int:
        """Memory of the weight, unless an embedding has it."""
        return 0 if self._shared else self.out_features * self.in_features * self._rows.dtype.itemsize

    def forward(self, x: Tensor) -> Tensor:
        """Compute outputs [..., out] with every token's own adapter."""
        y = self._product(x)
        tokens = self._step.head if self._head else self._step.body
        return y if tokens is None else tokens.apply(self._name, self._product, x, y)

    def _product(self, x: Tensor) -> Tensor:
        if self._plain:
            return functional.linear(x, self._rows, self.bias)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._rows, self.bias, "none", [], "")  # noqa: SLF001
        return product


class BatchedEmbedding(nn.Module):
    """Comes between an Embedding and its callers; used where a batch may hold adapters that change it."""

    def __init__(self, name: str, module: nn.Embedding, step: Step) -> None:
        """Take a module over, which keeps its weight."""
        super().__init__()
        self._name, self._module, self._step = name, module, step

    @property
    def weight(self) -> Tensor:
        """The matrix [rows, width]."""
        return self._module.weight

    def __getattr__(self, name: str) -> Any:
        """Give what the embedding has (its width, its scale), for those who ask."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("_module"), name)

    def forward(self, ids: Tensor) -> Tensor:
        """Look rows up [..., width], each token's with its own adapter."""
        y: Tensor = self._module(ids)
        tokens = self._step.body
        return y if tokens is None or ids.numel() != tokens.count else tokens.apply(self._name, self._module, ids, y)


def _packs(matrix: Tensor) -> bool:
    """Whether oneDNN computes with such a matrix here."""
    if matrix.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if matrix.dtype is torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001
    return matrix.dtype is torch.float32
