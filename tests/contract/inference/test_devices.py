"""Steps on a device that is not the processor: torch's meta device computes shapes only, and refuses what mixes both."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from services.common.bases.loader import load_model
from services.common.identity import open_base
from services.inference.engine.batched import attention
from services.inference.engine.batched.graphs import Recorder
from services.inference.engine.batched.kv import KvMemory
from services.inference.engine.batched.model import BatchedModel
from services.inference.engine.batched.packing import Place
from services.inference.engine.batched.rows import Piece, Row
from services.inference.engine.changes import LinearChange, low_rank
from services.inference.engine.protocol import EngineRequest, LoraLayer
from tests.contract.inference.tracing import TracingRecorder

META = torch.device("meta")


@pytest.fixture
def shapes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what asks for values: there are none."""

    def mask(hidden: Tensor, like: Tensor) -> Tensor:
        return torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, -torch.inf)

    monkeypatch.setattr(attention, "_mask", mask)
    monkeypatch.setattr(BatchedModel, "_compare", lambda *_, **__: None)


def on_meta(directory: Path, recorder: Recorder | None) -> BatchedModel:
    with open_base(directory) as opened:
        fingerprint, model = opened.fingerprint(), load_model(opened, dtype=torch.float32, device="cpu")
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(parameter.to(META), requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, buffer.to(META))
    model.tie_weights()
    return BatchedModel(model, fingerprint.modules, recorder=recorder)


@pytest.mark.usefixtures("shapes_only")
@pytest.mark.parametrize("architecture", ["qwen2", "mistral", "gpt_neox"])
@pytest.mark.parametrize("recorder", [TracingRecorder(), None], ids=["recorded", "told anew"])
def test_a_step_touches_nothing_of_the_processor(
    architecture: str, recorder: Recorder | None, tiny: Callable[..., Path]
) -> None:
    model = on_meta(tiny(architecture), recorder)
    memory = KvMemory(model.layers, budget_bytes=2**22, most_tokens=512, dtype=model.dtype, device=META)
    model.use_memory(memory)
    rows = [Row(EngineRequest(tuple(range(3 + i)), None, 4, frozenset()), 0.0) for i in range(5)]
    spans = {row: memory.spans.take(64) for row in rows}
    places = {row: Place(span, None, 0, {}) for row, span in spans.items() if span is not None}
    for count in (2, 1, 1):
        pieces = [Piece(row, min(count, len(row.tokens) - row.computed)) for row in rows]
        complete, logits = model.compute(pieces, lambda piece: places[piece.row])
        assert logits.device == META
        assert len(logits) == len(complete)
        for piece in pieces:
            piece.row.computed += piece.count
        for row in complete:
            row.tokens.append(1)
    assert model.recorded is (recorder is not None and architecture != "gpt_neox")


@pytest.mark.usefixtures("shapes_only")
def test_an_adapter_is_prepared_where_its_module_computes(tiny: Callable[..., Path]) -> None:
    model = on_meta(tiny(), None)
    name = "model.layers.0.self_attn.q_proj"
    module = model.modules[name]
    assert isinstance(module, nn.Linear)
    layer = LoraLayer(name, torch.zeros(2, module.in_features), torch.zeros(module.out_features, 2), 1.0)
    change = low_rank(module, layer)
    assert isinstance(change, LinearChange)
    assert change.a.device == change.b.device == META
