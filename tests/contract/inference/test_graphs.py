"""Steps that are recorded and replayed, by a recorder that works as a GPU's does."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from services.common.errors import DomainError, Reason
from services.common.identity import open_base
from services.inference.engine.batched.attention import AttentionOptions, GatheredPlan
from services.inference.engine.batched.graphs import Recorder
from services.inference.engine.loader import AutoEngineLoader, EngineOptions
from services.inference.engine.protocol import AdapterWeights, Engine, EngineRequest, LoraLayer
from tests.contract.inference.samples import make_adapter, read_adapter
from tests.contract.inference.tracing import TracingRecorder
from tests.contract.inference.variants import options
from tests.unit.inference.engine import Observed

VARIANTS = ("plain", "rslora", "all linear", "lora_bias", "dora", "dora with rslora and ranks", "layers_to_transform")
DIGESTS = [f"{number:064x}" for number in range(len(VARIANTS))]
Load = Callable[..., Any]


class BrokenRecorder:
    """Fails after so many."""

    def __init__(self, good: int) -> None:
        self.good = good
        self.tracing = TracingRecorder()

    def record(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        if self.tracing.recorded == self.good:
            raise RuntimeError("out of graphs")
        return self.tracing.record(work)


class WrongRecorder(TracingRecorder):
    """Replays something else."""

    def record(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        replay = super().record(work)
        return lambda: replay().roll(1, -1)


@pytest.fixture(params=["qwen2", "mistral"])
def base(request: pytest.FixtureRequest, tiny: Callable[..., Path]) -> Path:
    return tiny(request.param, context=2048)  # Mistral's window is shorter than the rows


@pytest.fixture
async def load(base: Path) -> AsyncIterator[Load]:
    async with AsyncExitStack() as stack:

        async def make(recorder: Recorder | None, **changes: Any) -> Engine:
            settings = {"dtype": "float32", "kv_bytes": 2**23, "prefix_bytes": 2**20, "batch_rows": 16, **changes}
            with open_base(base) as opened:
                loader = AutoEngineLoader(EngineOptions(**settings), lambda _: recorder)
                engine = await loader.load(opened, opened.fingerprint(), Observed())
            stack.push_async_callback(engine.close)
            return engine

        yield make


async def attach(engine: Engine, base: Path, directory: Path, digests: Sequence[str] = DIGESTS) -> None:
    with open_base(base) as opened:
        fingerprint = opened.fingerprint()
    for digest in digests:
        number = DIGESTS.index(digest)
        target = directory / digest
        if not target.exists():
            make_adapter(base, target, seed=number, **options(VARIANTS[number], "qwen2"))
        await engine.attach(read_adapter(target, fingerprint, digest))


async def tokens(engine: Engine, number: int, adapter: str | None, count: int = 70) -> list[int]:
    prompt = tuple(3 + (5 * i + number) % 250 for i in range(2 + 9 * number))
    request = EngineRequest(prompt, adapter, count, frozenset())
    async with aclosing(engine.generate(request)) as events:
        return [event.token_id async for event in events]


async def together(engine: Engine, adapters: Sequence[str | None], count: int = 70) -> list[list[int]]:
    return await asyncio.gather(*(tokens(engine, i, adapter, count + i) for i, adapter in enumerate(adapters)))


async def test_answers_are_those_of_steps_that_are_told_anew(load: Load, base: Path, tmp_path: Path) -> None:
    recorder = TracingRecorder()
    usual, recorded = await load(None), await load(recorder)
    for engine in (usual, recorded):
        await attach(engine, base, tmp_path)
    mix = [None, *DIGESTS, None, DIGESTS[3]]
    assert await together(recorded, mix) == await together(usual, mix)
    assert recorder.replayed > 70
    assert recorder.recorded < 20
    before = recorder.recorded
    assert await together(recorded, mix) == await together(usual, mix)
    assert recorder.recorded == before


async def test_adapters_that_come_later_move_those_that_are_there(load: Load, base: Path, tmp_path: Path) -> None:
    usual, recorded = await load(None), await load(TracingRecorder())
    for known in range(1, 5):
        for engine in (usual, recorded):
            await attach(engine, base, tmp_path, DIGESTS[known - 1 : known])
        mix = [None, *DIGESTS[:known]]
        assert await together(recorded, mix, 8) == await together(usual, mix, 8)


async def test_numbers_that_overflow_hit_nobody_else(load: Load, base: Path, tmp_path: Path) -> None:
    recorded = await load(TracingRecorder())
    await attach(recorded, base, tmp_path, DIGESTS[:1])
    alone = await together(recorded, [None, DIGESTS[0]])
    huge = LoraLayer("model.layers.0.self_attn.q_proj", torch.full((2, 32), 1e30), torch.full((32, 2), 1e30), 1.0)
    await recorded.attach(AdapterWeights("f" * 64, (huge,)))
    found = await asyncio.gather(
        tokens(recorded, 0, None, 70),
        tokens(recorded, 1, DIGESTS[0], 71),
        *(tokens(recorded, 2, "f" * 64) for _ in range(3)),
        return_exceptions=True,
    )
    assert found[:2] == alone
    assert all(isinstance(error, DomainError) and error.reason is Reason.ADAPTER_INVALID for error in found[2:])


def test_a_row_never_sees_what_lies_behind_it() -> None:
    torch.manual_seed(0)
    begins, positions, capacity = torch.tensor([0, 32]), torch.tensor([6, 11]), 32
    query, keys, values = torch.randn(2, 4, 8), torch.randn(64, 2, 8), torch.randn(64, 2, 8)
    for begin, position in zip(begins, positions, strict=True):
        keys[begin + position + 1 : begin + capacity] = values[begin + position + 1 : begin + capacity] = torch.nan
    for window in (None, 5):
        how = AttentionOptions(scaling=0.5, window=window)
        found = GatheredPlan(begins, positions, 64).attend(query, keys, values, how)
        for row, (begin, position) in enumerate(zip(begins.tolist(), positions.tolist(), strict=True)):
            seen = slice(begin + max(0, position + 1 - (window or 64)), begin + position + 1)
            key, value = (x[seen].repeat_interleave(2, 1).transpose(0, 1) for x in (keys, values))
            weights = (query[row].unsqueeze(1) @ key.transpose(1, 2) * 0.5).softmax(-1)
            torch.testing.assert_close(found[row], (weights @ value)[:, 0])


async def test_where_recording_fails_steps_are_told_anew(load: Load) -> None:
    usual, later = await load(None), await load(BrokenRecorder(2))
    assert "steps recorded" in later.compute
    assert await together(later, [None] * 5) == await together(usual, [None] * 5)
    assert await together(later, [None] * 5) == await together(usual, [None] * 5)


@pytest.mark.parametrize("recorder", [BrokenRecorder(0), WrongRecorder()])
async def test_what_cannot_be_recorded_is_noticed_when_a_base_is_loaded(load: Load, recorder: Recorder) -> None:
    usual, engine = await load(None), await load(recorder)
    assert "steps recorded" not in engine.compute
    assert await together(engine, [None] * 3) == await together(usual, [None] * 3)


async def test_half_precision_is_recorded_too(load: Load, base: Path, tmp_path: Path) -> None:
    recorder = TracingRecorder()
    recorded = await load(recorder, dtype=str(torch.bfloat16).removeprefix("torch."))
    await attach(recorded, base, tmp_path)
    found = await together(recorded, [None, *DIGESTS], 20)
    assert [len(answer) for answer in found] == [20 + i for i in range(len(DIGESTS) + 1)]
    assert recorder.replayed > 20
