"""The modules of a model as the batched engine computes them: prepacked weights, and adapters added for all rows at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from services.inference.engine.batched.arrangement import Tokens
from services.inference.engine.batched.forms import ModuleGroup
from services.inference.engine.batched.packed import PackedEmbedding, PackedMatrix, packs
from services.inference.engine.native.kernels import AS_IT_IS, Before, Kernels
from services.inference.engine.native.matrix import NativeMatrix


@dataclass(eq=False, slots=True)
class Step:
    """What the modules need to know of the step that runs.

    Attributes:
        body: the tokens that all modules but the last see; None while there is no adapter among them.
        head: those whose logits are wanted, which the last module sees.
    """

    body: Tokens | None = None
    head: Tokens | None = None


class Preparation(Protocol):
    """What the inputs of linear modules are made of.

    Attributes:
        native: how a kernel makes them, or None where none does.
    """

    @property
    def native(self) -> Before | None: ...

    def __call__(self, x: Tensor) -> Tensor: ...


class BatchedLinear(nn.Module):
    """Takes the place of linear modules that read the same inputs; there is no other copy of their weights.

    The weight is packed where that is faster.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Linear | Conv1D],
        step: Step,
        *,
        kernels: Kernels | None = None,
        head: bool = False,
        shared: bool = False,
    ) -> None:
        """Take modules over.

        Args:
            modules: by name; all of one kind. They lose their weights, unless these are shared.
            step: that runs.
            kernels: to compute with, or None.
            head: whether it makes the logits.
            shared: whether the weight of the only module is needed as it is, by an embedding.
        """
        super().__init__()
        self.transposed = any(isinstance(module, Conv1D) for module in modules.values())
        self.bias = _joined_bias(list(modules.values()))
        matrices: list[Tensor] = [module.weight.T if self.transposed else module.weight for module in modules.values()]
        outputs = tuple(len(matrix) for matrix in matrices)
        self.group = ModuleGroup(tuple(modules), matrices[0].shape[1], outputs)
        rows = (matrices[0] if len(matrices) == 1 else torch.cat(matrices)).detach()
        self._step, self._head, self._shared = step, head, shared
        self._scales, self._itemsize = rows.dtype is not torch.float32, rows.dtype.itemsize
        # A shared matrix stays as it is, unless ``share`` packs it for both.
        self._kernels, self._packs = kernels, packs(rows)
        self._rows: Tensor | PackedMatrix | NativeMatrix = rows
        if not shared:
            del matrices
            for module in modules.values():
                del module.weight
            self._rows = self._pack(rows.contiguous()) if self._packs else rows.contiguous()

    @property
    def packed(self) -> bool:
        """Whether the weight is packed."""
        return not isinstance(self._rows, Tensor)

    @property
    def device(self) -> torch.device:
        """Where it computes; weights are packed on a processor only."""
        return self._rows.device if isinstance(self._rows, Tensor) else torch.device("cpu")

    @property
    def own_bytes(self) -> int:
        """Memory of weight and bias, unless an embedding has them."""
        bias = self.bias.nbytes if self.bias is not None else 0
        return 0 if self._shared else bias + sum(self.group.outputs) * self.group.inputs * self._itemsize

    def matrix(self, name: str) -> Tensor:
        """The weight [out, in] of a module, unpacked for this call."""
        rows = self._rows if isinstance(self._rows, Tensor) else self._rows.dense()
        return rows[self.group.columns[name]]

    def share(self) -> PackedEmbedding | None:
        """Pack a shared weight, and give the embedding that reads its rows there; None, and no change, where none can."""
        if not isinstance(self._rows, Tensor) or not self._packs:
            return None
        if self._kernels is not None:
            shape = (self._rows.shape[0], self._rows.shape[1])
            self._rows = matrix = NativeMatrix.whole(self._kernels, self._rows, self.bias)
            embedding = PackedEmbedding(matrix, [matrix.rows], shape)
        else:
            packed = PackedEmbedding.share(self._rows)
            if packed is None:
                return None
            self._rows, embedding = packed
        self._shared = False
        return embedding

    def forward(self, x: Tensor) -> Tensor:
        """Compute outputs [..., out] with every token's own adapter."""
        y = self._product(x)
        tokens = self._step.head if self._head else self._step.body
        if tokens is not None:
            self._adapt(tokens, x, y)
        return y

    def after(self, preparation: Preparation, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """Compute the outputs [tokens, out] for inputs that are made of ``x``, plus what they are added to."""
        matrix, before = self._rows, preparation.native
        if not isinstance(matrix, NativeMatrix):
            inputs = preparation(x)
            return self.forward(inputs) if onto is None else self.onto(inputs, onto)
        tokens = self._step.head if self._head else self._step.body
        if tokens is not None and not tokens.concern(self.group.key, self.group.names):
            tokens = None
        if before is None:
            x, before = preparation(x), AS_IT_IS
        if tokens is None:
            return matrix.product(x, before, onto)
        kept = None if before is AS_IT_IS else x.new_empty(x.shape[0], self.group.inputs)
        adds = tokens.adds_only(self.group.key, self.group.names)
        y = matrix.product(x, before, onto if adds else None, kept)
        self._adapt(tokens, x if kept is None else kept, y)
        return y if adds or onto is None else y.add_(onto)

    def onto(self, x: Tensor, residual: Tensor) -> Tensor:
        """Compute ``residual`` plus the outputs."""
        tokens = self._step.body
        if self._scales or not (tokens is None or tokens.adds_only(self.group.key, self.group.names)):
            return self.forward(x).add_(residual)
        y = self._product_onto(x, residual)
        if tokens is not None:
            tokens.add(self.group.key, x, y)
        return y

    def _adapt(self, tokens: Tokens, x: Tensor, y: Tensor) -> None:
        tokens.add(self.group.key, x, y)
        if tokens.others:
            self._replace(tokens, x, y)

    def _pack(self, rows: Tensor) -> PackedMatrix | NativeMatrix:
        if self._kernels is None:
            return PackedMatrix.whole(rows)
        return NativeMatrix.whole(self._kernels, rows, self.bias)

    def _replace(self, tokens: Tokens, x: Tensor, y: Tensor) -> None:
        for name, columns in self.group.columns.items():
            tokens.replace(name, lambda rows, columns=columns: self._product(rows)[..., columns], x, y[..., columns])

    def _product(self, x: Tensor) -> Tensor:
        if isinstance(self._rows, NativeMatrix):
            return self._rows.product(x.reshape(-1, self.group.inputs)).view(*x.shape[:-1], -1)
        if isinstance(self._rows, PackedMatrix):
            return self._rows.product(x, self.bias)
        if self._packs:  # oneDNN packs it for this call, and is still faster
            product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._rows, self.bias, "none", [], "")  # noqa: SLF001
            return product
        return functional.linear(x, self._rows, self.bias)

    def _product_onto(self, x: Tensor, residual: Tensor) -> Tensor:
        if isinstance(self._rows, PackedMatrix):
            return self._rows.product_onto(x, self.bias, residual)
        return self._product(x).add_(residual)


class LinearPart(nn.Linear):
    """A module as adapters know it: its place in a ``BatchedLinear``, which computes it."""

    def __init__(self, whole: BatchedLinear, name: str) -> None:
        """Stand for a module of a group."""
        nn.Module.__init__(self)
        columns = whole.group.columns[name]
        self.in_features, self.out_features = whole.group.inputs, columns.stop - columns.start
        self.transposed = whole.transposed
        self._whole, self._name = [whole], name  # in a list, so that it is no submodule a second time
        self.register_buffer("bias", whole.bias[columns] if whole.bias is not None else None, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._whole[0].device

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The matrix [out, in], unpacked for this call."""
        return self._whole[0].matrix(self._name)


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
        if tokens is not None and ids.numel() == tokens.count:
            tokens.replace(self._name, self._module, ids, y)
        return y


def _joined_bias(modules: Sequence[nn.Linear | Conv1D]) -> Tensor | None:
    """The biases one after another; a module without one has zeros, unless none has any."""
    biases: list[Tensor | None] = [module.bias for module in modules]
    if all(bias is None for bias in biases):
        return None
    if len(modules) == 1:
        return biases[0]
    zeros = [module.weight.new_zeros(module.weight.shape[0]) for module in modules]
    return torch.cat([zero if bias is None else bias.detach() for bias, zero in zip(biases, zeros, strict=True)])
