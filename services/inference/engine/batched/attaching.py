"""From an adapter's checked tensors to what the engine keeps of it."""

import threading
from collections.abc import Mapping

from torch import nn

from services.common.errors import DomainError, Reason
from services.inference.engine.batched.forms import AdapterForm, Layouts
from services.inference.engine.batched.model import BatchedModel
from services.inference.engine.batched.room import AttachedAdapter
from services.inference.engine.batched.slots import HostAdapter
from services.inference.engine.changes import Change, LinearChange, low_rank, replacement
from services.inference.engine.protocol import AdapterWeights, Attached


class Attacher:
    """Prepares adapters for one model; in any thread."""

    def __init__(self, model: BatchedModel) -> None:
        """Prepare for a model."""
        self._modules: Mapping[str, nn.Module] = model.modules
        self._layouts = Layouts(model.groups)
        self._lock = threading.Lock()

    def prepare(self, adapter: AdapterWeights) -> tuple[AttachedAdapter, Attached]:
        """Check an adapter against the model, and lay it out for a slot.

        Raises:
            DomainError: see ``Engine.attach``.
        """
        linear: dict[str, LinearChange] = {}
        others: dict[str, Change] = {}
        for layer in adapter.layers:
            change = low_rank(self._module(layer.module), layer)
            if isinstance(change, LinearChange):
                linear[layer.module] = change
            else:
                others[layer.module] = change
        for replaced in adapter.replacements:
            others[replaced.module] = replacement(self._module(replaced.module), replaced)
        host = self._host(adapter.digest, AdapterForm(linear, others)) if linear else None
        size = sum(change.size_bytes for change in others.values()) + (host.flat.nbytes if host else 0)
        tensors = sum(change.tensors for change in (*linear.values(), *others.values()))
        return AttachedAdapter(host, others), Attached(tensors, size)

    def _host(self, digest: str, form: AdapterForm) -> HostAdapter:
        with self._lock:
            layout = self._layouts.choose(form)
        return HostAdapter(digest, layout, layout.flatten(form))

    def _module(self, name: str) -> nn.Module:
        if name not in self._modules:
            raise DomainError(
                Reason.ADAPTER_MODULE_NOT_FOUND,
                f"The adapter changes {name}, and the base has no linear or embedding module of that name. Serve it on "
                "the base it was trained on.",
            )
        return self._modules[name]
