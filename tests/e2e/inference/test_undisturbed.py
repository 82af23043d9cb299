"""While loads are refused, at every step there is, the adapters that answer go on answering the same."""

import asyncio
import dataclasses
import gc
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from services.common.errors import Reason
from services.common.manifest import Provenance
from services.common.probe import Probe
from services.inference.engine.batched.slots import HostAdapter
from tests.contract.inference.samples import PROBE, edit_config, edit_weights, make_adapter
from tests.e2e.inference.conftest import Base
from tests.e2e.inference.service import StartInference, Suite

Edits = Mapping[str, torch.Tensor]


def broken(
    base: Path, to: Path, config: dict[str, Any] | None = None, *, edits: Edits | None = None, probe: float = 0.0
) -> Path:
    """An adapter with a fault; ``probe`` is added to what it is said to have answered."""
    make_adapter(base, to, seed=17)
    edit_config(to, **(config or {}))
    edit_weights(to, **(edits or {}))
    recorded = Probe.from_json(json.loads((to / PROBE).read_text()))
    logits = tuple(logit + probe for logit in recorded.adapter_logits)
    (to / PROBE).write_text(json.dumps(dataclasses.replace(recorded, adapter_logits=logits).to_json()))
    return to


def cancelling(base: Path, to: Path) -> Path:
    """DoRA whose change takes a row of the base's weight to zero, so that its length is zero: only attaching finds out."""
    make_adapter(base, to, seed=18, use_dora=True, target_modules=["q_proj"], r=4, lora_alpha=4)
    row = load_file(base / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"][0]
    a, b = torch.zeros(4, 32), torch.zeros(32, 4)
    a[0], b[0, 0] = row, -1.0
    edit_weights(to, **{"0__self_attn__q_proj__lora_A__weight": a, "0__self_attn__q_proj__lora_B__weight": b})
    return to


@pytest.fixture(scope="module")
async def refused(suite: Suite, qwen: Base, root: Path, directories: Callable[..., Path]) -> dict[str, Reason]:
    """Names of published adapters, one for each step at which they are refused."""
    base = directories("qwen2")
    made: list[tuple[Path, Reason]] = [
        (broken(base, root / "u1", {"bias": "all"}), Reason.ADAPTER_NOT_SUPPORTED),
        (
            broken(base, root / "u2", edits={"0__self_attn__q_proj__lora_A__weight": torch.ones(4, 31)}),
            Reason.ADAPTER_SHAPE_MISMATCH,
        ),
        (broken(base, root / "u3", edits={"lora_A__weight": torch.tensor(torch.nan)}), Reason.ADAPTER_NOT_FINITE),
        (broken(base, root / "u4", edits={"lora_B__weight": torch.tensor(0.0)}), Reason.ADAPTER_NO_EFFECT),
        (cancelling(base, root / "u5"), Reason.ADAPTER_NOT_FINITE),
        (broken(base, root / "u6", probe=0.5), Reason.PROBE_MISMATCH),
    ]
    names = {await suite.publish(directory, qwen): reason for directory, reason in made}
    declared = make_adapter(base, root / "u7", seed=19)
    names[await suite.publish(declared, qwen, provenance=Provenance.DECLARED)] = Reason.PROVENANCE_NOT_ADMITTED
    return names


async def test_answers_before_during_and_after_refused_loads_are_the_same(
    start_inference: StartInference, suite: Suite, qwen: Base, wukong: str, refused: dict[str, Reason], root: Path,
    directories: Callable[..., Path],
) -> None:  # fmt: skip
    fresh = await start_inference(inference_admit=Provenance.WITNESSED)
    dora = await suite.publish(make_adapter(directories("qwen2"), root / "dora", seed=20, use_dora=True), qwen)
    models = [qwen[0], wukong, dora]

    async def answers() -> list[str]:
        return [answer.text for answer in await asyncio.gather(*(fresh.ask(m, max_tokens=30) for m in models))]

    before = await answers()
    assert len(set(before)) == 3
    loaded, alive = await fresh.loaded(), changes()

    async def refuse_all() -> None:
        for name, reason in [*refused.items()] * 10:
            assert (await fresh.refusal(name)).reason is reason

    loads = [asyncio.create_task(refuse_all()) for _ in range(3)]
    during = [await answers()]
    while not all(load.done() for load in loads):
        during.append(await answers())
    await asyncio.gather(*loads)
    assert len(during) > 2
    assert all(texts == before for texts in during)
    assert await answers() == before
    assert await fresh.loaded() == loaded
    assert changes() == alive


def changes() -> int:
    """Adapters that are in memory."""
    gc.collect()
    return sum(type(thing) is HostAdapter for thing in gc.get_objects())


async def test_refused_load_leaves_no_tensor_behind(suite: Suite, qwen: Base, refused: dict[str, Reason]) -> None:
    await suite.ask(qwen[0])
    before = tensors()
    for name, reason in refused.items():
        if reason is not Reason.PROVENANCE_NOT_ADMITTED:  # this service admits it
            assert (await suite.refusal(name)).reason is reason
    await suite.ask(qwen[0])
    assert tensors() <= before


def tensors() -> int:
    """Bytes of all tensors in memory."""
    gc.collect()
    # Some objects answer `isinstance` with a warning.
    found = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
    # Packed ones do not say where they lie.
    return sum({id(t) if t.is_mkldnn else t.data_ptr(): t.numel() * t.itemsize for t in found}.values())
