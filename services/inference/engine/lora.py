"""LoRA on a model without changing it: a hook on every module that an adapter may name adds the active one's part."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional

from services.common.errors import DomainError, Reason
from services.common.identity import LinearModule
from services.inference.engine.protocol import AdapterWeights, Attached

HOOKED_KINDS: Final = frozenset({"Linear", "Conv1D"})
"""Kinds of modules that adapters can change here."""

Layers = Mapping[str, "Applied"]


@dataclass(frozen=True, slots=True)
class Applied:
    """One module's part of an adapter, on the model's device and in single precision or better."""

    a: torch.Tensor
    b: torch.Tensor
    scaling: float


class LoraHooks:
    """The adapters of one model.

    ``attach`` and ``detach`` may be called while the model computes in another thread: they only replace entries of a
    dictionary, and a computation keeps the layers that it activated.
    """

    def __init__(self, model: nn.Module, modules: Iterable[LinearModule]) -> None:
        """Put the hooks in place once; without an active adapter they do nothing."""
        self._modules = {module.name: module for module in modules if module.kind in HOOKED_KINDS}
        self._adapters: dict[str, Layers] = {}
        self._active: Layers = {}
        self._device = next(model.parameters()).device
        for name in self._modules:
            model.get_submodule(name).register_forward_hook(self._hook(name))

    def attach(self, adapter: AdapterWeights) -> Attached:
        """Make an adapter known.

        Raises:
            DomainError: ADAPTER_INVALID where a module is not there or a shape does not fit.
        """
        layers = {
            layer.module: self._applied(layer.module, layer.a, layer.b, layer.scaling) for layer in adapter.layers
        }
        self._adapters[adapter.digest] = layers
        size = sum(layer.a.nbytes + layer.b.nbytes for layer in layers.values())
        return Attached(applied_tensors=2 * len(layers), size_bytes=size)

    def detach(self, digest: str) -> None:
        """Forget an adapter; harmless if it is not known."""
        self._adapters.pop(digest, None)

    def activate(self, digest: str | None) -> None:
        """Choose what the model computes from now on; called by the computing thread alone.

        Raises:
            DomainError: INTERNAL if it was never attached: that is never answered by the base instead.
        """
        if digest is not None and digest not in self._adapters:
            raise DomainError(Reason.INTERNAL, f"The adapter {digest} is not attached.")
        self._active = self._adapters[digest] if digest is not None else {}

    def _applied(self, name: str, a: torch.Tensor, b: torch.Tensor, scaling: float) -> Applied:
        module = self._modules.get(name)
        if module is None:
            raise DomainError(Reason.ADAPTER_INVALID, f"The base has no linear module {name!r} to change.")
        rank = a.shape[0]
        if a.shape != (rank, module.in_features) or b.shape != (module.out_features, rank):
            raise DomainError(
                Reason.ADAPTER_INVALID,
                f"{name} takes {module.in_features} features and gives {module.out_features}; "
                f"A{list(a.shape)} and B{list(b.shape)} do not fit it.",
            )
        return Applied(self._moved(a), self._moved(b), scaling)

    def _moved(self, tensor: torch.Tensor) -> torch.Tensor:
        dtype = tensor.dtype if tensor.dtype is torch.float64 else torch.float32
        return tensor.detach().to(device=self._device, dtype=dtype, copy=True)

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Any, ...], torch.Tensor], torch.Tensor | None]:
        def add(_module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor | None:
            layer = self._active.get(name)
            if layer is None:
                return None
            x = inputs[0].to(layer.a.dtype)
            change = functional.linear(functional.linear(x, layer.a), layer.b) * layer.scaling
            return (output + change).to(output.dtype)

        return add
