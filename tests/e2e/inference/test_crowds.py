"""Many clients at once, and clients that are gone in the middle: whoever is answered is answered rightly, and nobody's place is lost."""

import asyncio
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Final

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

TEXTS: Final = [f"text number {number}" for number in range(8)]
KILL_SECONDS: Final = 25.0


async def answers_of(suite: Suite, models: list[str]) -> dict[tuple[str, str], str]:
    return {(model, text): (await suite.ask(model, text)).text for model in models for text in TEXTS}


async def unloaded(suite: Suite, *models: str) -> None:
    """An unload waits for whoever uses a model: one that comes to its end has nobody left."""
    for model in models:
        assert (await suite.inference.UnloadModel(pb.UnloadModelRequest(model=model), timeout=20)).unloaded
    assert await suite.loaded() == []


async def crowd(suite: Suite, models: list[str], size: int) -> Counter[str]:
    """Everybody asks at once; says how many were answered and refused."""
    want = await answers_of(suite, models)
    asked = [(models[number % len(models)], TEXTS[number % len(TEXTS)]) for number in range(size)]
    found = await asyncio.gather(*(suite.ask(*one) for one in asked), return_exceptions=True)
    counts: Counter[str] = Counter()
    for one, answer in zip(asked, found, strict=True):
        if isinstance(answer, DomainError):
            assert (answer.reason, answer.code) == (Reason.QUEUE_FULL, grpc.StatusCode.RESOURCE_EXHAUSTED)
            assert answer.retry_after  # google.rpc.RetryInfo
            counts["refused"] += 1
        else:
            assert not isinstance(answer, BaseException)
            assert answer.text == want[one]
            counts["answered"] += 1
    assert await answers_of(suite, models) == want
    return counts


async def test_a_hundred_at_once(start_inference: StartInference, qwen: Base, wukong: str) -> None:
    fresh = await start_inference(inference_queue_size=6, inference_batch_rows=2)
    counts = await crowd(fresh, [qwen[0], wukong], 100)
    assert counts["answered"] >= 8
    await unloaded(fresh, wukong, qwen[0])


@pytest.mark.proof
@pytest.mark.timeout(300)
async def test_a_thousand_at_once(start_inference: StartInference, qwen: Base, gpt2: Base, wukong: str) -> None:
    fresh = await start_inference(inference_queue_size=32, inference_batch_rows=16)
    counts = await crowd(fresh, [qwen[0], wukong, gpt2[0]], 1000)
    assert counts["answered"] >= 48
    assert sum(counts.values()) == 1000
    await unloaded(fresh, wukong, qwen[0], gpt2[0])


async def test_fifty_cold_requests_half_of_which_leave_load_an_adapter_once(
    start_inference: StartInference, wukong: str, adapter_directory: Path
) -> None:
    fresh = await start_inference()
    asking = [asyncio.create_task(fresh.ask(wukong)) for _ in range(50)]
    await asyncio.sleep(0.02)
    for task in asking[::2]:
        task.cancel()
    found = await asyncio.gather(*asking, return_exceptions=True)
    answers = [answer for answer in found if not isinstance(answer, BaseException)]
    assert len(answers) >= 25
    assert len({answer.text for answer in answers}) == 1
    assert fresh.store.touched[f"fetch {file_of(adapter_directory / WEIGHTS).sha256}"] == 1


@pytest.mark.parametrize("method", ["unload", "drop the base"])
async def test_unloading_while_requests_run_changes_no_answer(
    method: str, start_inference: StartInference, qwen: Base, wukong: str
) -> None:
    fresh = await start_inference()
    models = [qwen[0], wukong]
    want = {model: (await fresh.ask(model, max_tokens=60)).text for model in models}
    unloads = 0

    async def unload() -> None:
        nonlocal unloads
        model = wukong if method == "unload" else qwen[0]
        while True:
            unloads += (await fresh.inference.UnloadModel(pb.UnloadModelRequest(model=model))).unloaded
            await asyncio.sleep(0)

    unloading = asyncio.create_task(unload())
    for _ in range(4):
        found = await asyncio.gather(*(fresh.ask(model, max_tokens=60) for model in models * 4))
        assert [answer.text for answer in found] == [want[model] for model in models * 4]
    unloading.cancel()
    await asyncio.gather(unloading, return_exceptions=True)
    assert unloads > 2


@pytest.mark.proof
@pytest.mark.timeout(300)
async def test_clients_that_are_killed_at_any_moment(
    start_inference: StartInference, suite: Suite, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = make_tiny_base(root / "bases" / "killed", context=4000, seed=61)
    base = await suite.add_base(directory)
    adapters = [
        await suite.publish(make_adapter(directory, root / f"killed-{seed}", seed=seed), base) for seed in (1, 2, 3)
    ]
    models = [base[0], *adapters]
    # Memory for few long answers and for two adapters: killed in all states there are, preempted ones too.
    fresh = await start_inference(
        inference_queue_size=64, inference_batch_rows=8, inference_slots=2, inference_kv_bytes=2**21
    )
    want = await answers_of(fresh, models)
    random, counts = Random(7), Counter[str]()
    until = asyncio.get_running_loop().time() + KILL_SECONDS

    async def killed() -> None:
        while asyncio.get_running_loop().time() < until:
            request = prompt(
                random.choice(models), "x" * random.choice((1, 300)), max_tokens=3000, n=random.choice((1, 1, 3))
            )
            async with aio.insecure_channel(fresh.address) as channel:
                stub = InferenceServiceStub(channel)
                with suppress(TimeoutError, aio.AioRpcError, asyncio.CancelledError):
                    async with asyncio.timeout(random.expovariate(8)):
                        if random.random() < 0.5:
                            await stub.Generate(request)
                        else:
                            async for _ in stub.StreamGenerate(request):
                                counts["pieces"] += 1
            counts["killed"] += 1

    async def steady() -> None:
        while asyncio.get_running_loop().time() < until:
            one = random.choice(list(want))
            try:
                assert (await fresh.ask(*one)).text == want[one]
            except DomainError as error:
                if error.reason is not Reason.QUEUE_FULL:
                    raise
                counts["refused"] += 1
            else:
                counts["answered"] += 1

    await asyncio.gather(*(killed() for _ in range(12)), *(steady() for _ in range(3)))
    with capsys.disabled():
        print(f"\n{dict(counts)}")
    assert counts["killed"] > 100
    assert counts["pieces"]
    assert counts["answered"] > 20
    assert await answers_of(fresh, models) == want
    await unloaded(fresh, *adapters, base[0])
