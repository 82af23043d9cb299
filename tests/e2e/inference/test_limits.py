"""Loading on demand, limits of memory and queues, callers that go away."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from services.common.errors import DomainError, Reason
from tenon.inference.v1 import inference_pb2 as pb
from tenon.inference.v1.inference_pb2_grpc import InferenceServiceStub
from tests.contract.inference.samples import WEIGHTS, file_of, make_adapter
from tests.e2e.inference.conftest import Base
from tests.e2e.inference.service import StartInference, Suite, prompt
from tests.support.tiny_bases import make_tiny_base

MIB = 1024 * 1024


async def settled(*calls: Any) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_cold_requests_for_one_adapter_load_it_once(
    start_inference: StartInference, wukong: str, adapter_directory: Path
) -> None:
    fresh = await start_inference()
    answers = await asyncio.gather(*(fresh.ask(wukong) for _ in range(12)))
    assert len({answer.text for answer in answers}) == 1
    assert fresh.store.touched[f"fetch {file_of(adapter_directory / WEIGHTS).sha256}"] == 1
    assert len(await fresh.loaded()) == 2


async def test_adapters_beyond_the_limit_leave_least_recently_used_first(
    start_inference: StartInference, suite: Suite, qwen: Base, root: Path, directories: Callable[..., Path]
) -> None:
    # Each of these takes a little over four tenths of a mebibyte: two fit into one, three do not.
    names = [
        await suite.publish(make_adapter(directories("qwen2"), root / f"lru-{seed}", seed=seed, r=256), qwen)
        for seed in (31, 32, 33)
    ]
    fresh = await start_inference(inference_adapter_memory_bytes=MIB)
    want = [(await fresh.ask(name)).text for name in names]

    async def adapters() -> set[str]:
        return {name.partition("/versions/")[0] for name in await fresh.loaded() if "/versions/" in name}

    assert await adapters() == set(names[1:])
    await fresh.ask(names[1])
    await fresh.ask(names[0])
    assert await adapters() == {names[0], names[1]}
    again = [(await fresh.ask(name)).text for name in names * 3]
    assert again == want * 3
    assert len(await adapters()) == 2


async def test_unloaded_adapter_is_loaded_again_by_the_next_request(
    start_inference: StartInference, wukong: str
) -> None:
    fresh = await start_inference()
    want = (await fresh.ask(wukong)).text
    assert (await fresh.inference.UnloadModel(pb.UnloadModelRequest(model=wukong))).unloaded
    assert len(await fresh.loaded()) == 1
    assert not (await fresh.inference.UnloadModel(pb.UnloadModelRequest(model=wukong))).unloaded
    assert (await fresh.ask(wukong)).text == want


async def test_idle_bases_make_room_and_busy_ones_stay(
    start_inference: StartInference, suite: Suite, root: Path
) -> None:
    # Each of these takes a little over half a mebibyte, and two for keys and values: both do not fit into four.
    made = [make_tiny_base(root / "bases" / f"big {seed}", hidden=96, context=2048, seed=seed) for seed in (41, 42)]
    (first, _), (second, _) = [await suite.add_base(directory) for directory in made]
    fresh = await start_inference(inference_memory_bytes=4 * MIB, inference_kv_bytes=2 * MIB, inference_prefix_bytes=0)
    await fresh.ask(first)
    await fresh.ask(second)
    assert await fresh.loaded() == [second]

    call = fresh.inference.StreamGenerate(prompt(second, max_tokens=2000), timeout=60)
    stream = aiter(call)
    await anext(stream)
    error = await fresh.refusal(first)
    assert (error.reason, error.code) == (Reason.OUT_OF_MEMORY, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert error.retry_after
    assert second in error.message
    call.cancel()
    async with asyncio.timeout(10):
        while isinstance((await settled(fresh.ask(first)))[0], DomainError):
            await asyncio.sleep(0.02)
    assert await fresh.loaded() == [first]


async def test_base_that_never_fits_says_so(start_inference: StartInference, suite: Suite, root: Path) -> None:
    name, _ = await suite.add_base(make_tiny_base(root / "bases" / "huge", hidden=256, seed=43))
    fresh = await start_inference(inference_memory_bytes=MIB)
    error = await fresh.refusal(name)
    assert error.reason is Reason.OUT_OF_MEMORY
    assert error.retry_after is None
    assert "TENON_INFERENCE_MEMORY_BYTES" in error.message


async def test_surplus_of_fifty_requests_is_told_to_come_back_and_none_is_lost(
    start_inference: StartInference, qwen: Base
) -> None:
    fresh = await start_inference(inference_queue_size=8, inference_batch_rows=1)
    want = (await fresh.ask(qwen[0], max_tokens=40)).text
    answers = await settled(*(fresh.ask(qwen[0], max_tokens=40) for _ in range(50)))
    refused = [answer for answer in answers if isinstance(answer, DomainError)]
    assert {error.reason for error in refused} == {Reason.QUEUE_FULL}
    assert all(error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and error.retry_after for error in refused)
    answered = [answer.text for answer in answers if not isinstance(answer, DomainError)]
    assert len(answered) >= 9
    assert set(answered) == {want}
    assert len(answered) + len(refused) == 50
    assert (await fresh.ask(qwen[0], max_tokens=40)).text == want


@pytest.fixture
async def endless(suite: Suite, root: Path) -> str:
    """A base that has a context for thousands of tokens."""
    directory = root / "bases" / "endless"
    if not directory.exists():
        make_tiny_base(directory, context=30_000, seed=50)
    return (await suite.add_base(directory))[0]


@pytest.mark.parametrize("method", ["Generate", "StreamGenerate"])
async def test_caller_that_goes_away_frees_the_engine(
    method: str, start_inference: StartInference, endless: str
) -> None:
    fresh = await start_inference(inference_queue_size=1, inference_batch_rows=1)
    await fresh.ask(endless)
    # A client of another platform: a bare channel, which is closed in the middle of the call.
    async with aio.insecure_channel(fresh.address) as channel:
        call = getattr(InferenceServiceStub(channel), method)(prompt(endless, max_tokens=29_000))
        if method == "StreamGenerate":
            await anext(aiter(call))
        else:
            await fresh.busy(endless)
    async with asyncio.timeout(5):
        assert (await fresh.ask(endless)).usage.completion_tokens == 12


async def test_deadline_frees_the_engine(start_inference: StartInference, endless: str) -> None:
    fresh = await start_inference(inference_queue_size=1, inference_batch_rows=1)
    await fresh.ask(endless)
    with pytest.raises(DomainError) as caught:
        await fresh.inference.Generate(prompt(endless, max_tokens=29_000), timeout=0.3)
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED
    async with asyncio.timeout(5):
        assert (await fresh.ask(endless)).usage.completion_tokens == 12
