"""A model that computes with one of many adapters, or with none, and whose own weights stay as they are."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

import torch
from torch import nn

from services.common.errors import DomainError, Reason
from services.common.identity import LinearModule
from services.inference.engine.changes import Change, Forward, is_changeable, low_rank, replacement
from services.inference.engine.protocol import AdapterWeights, Attached

CHANGEABLE_KINDS: Final = frozenset({"Linear", "Conv1D", "Embedding"})

Changes = Mapping[str, Change]


class AdaptedModel:
    """The adapters of one model.

    ``attach`` and ``detach`` may be called while the model computes in another thread: they only replace entries of a
    dictionary, and a computation keeps the changes that it activated.
    """

    def __init__(self, model: nn.Module, modules: Iterable[LinearModule]) -> None:
        """Come between the modules that adapters may name and their callers, once; without an adapter nothing changes."""
        named = dict(model.named_modules())
        found = {module.name: named.get(module.name) for module in modules if module.kind in CHANGEABLE_KINDS}
        self._modules: dict[str, nn.Module] = {
            name: module for name, module in found.items() if module is not None and is_changeable(module)
        }
        self._adapters: dict[str, Changes] = {}
        self._active: Changes = {}
        for name, module in self._modules.items():
            # Not a hook: those run after the module, and what is replaced need not be computed first.
            module.forward = partial(self._forward, name, module.forward)

    def attach(self, adapter: AdapterWeights) -> Attached:
        """Make an adapter known.

        Raises:
            DomainError: see ``Engine.attach``.
        """
        changes: dict[str, Change] = {
            layer.module: low_rank(self._module(layer.module), layer) for layer in adapter.layers
        }
        for replaced in adapter.replacements:
            changes[replaced.module] = replacement(self._module(replaced.module), replaced)
        self._adapters[adapter.digest] = changes
        return Attached(
            applied_tensors=sum(change.tensors for change in changes.values()),
            size_bytes=sum(change.size_bytes for change in changes.values()),
        )

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

    def _module(self, name: str) -> nn.Module:
        if name not in self._modules:
            raise DomainError(
                Reason.ADAPTER_MODULE_NOT_FOUND,
                f"The adapter changes {name}, and the base has no linear or embedding module of that name. Serve it on "
                "the base it was trained on.",
            )
        return self._modules[name]

    def _forward(self, name: str, forward: Forward, *inputs: Any, **options: Any) -> torch.Tensor:
        change = self._active.get(name)
        return (forward if change is None else partial(change, forward))(*inputs, **options)
