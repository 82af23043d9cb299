"""What every engine promises."""

import asyncio
import dataclasses
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest
import torch

from services.common.errors import DomainError, Reason
from services.inference.engine.protocol import (
    AdapterWeights,
    Batching,
    Engine,
    EngineRequest,
    FinishReason,
    LoraLayer,
    ModuleReplacement,
    Sampling,
    TokenEvent,
)
from tests.contract.inference.engines import BATCH_ROWS, LoadEngine, engines_for
from tests.contract.inference.samples import expected_tokens, make_adapter, read_adapter
from tests.support.tiny_bases import ARCHITECTURES

PROMPT = (40, 50, 60, 70, 80)
A, B = "a" * 64, "b" * 64


def ask(adapter: str | None = None, *, tokens: int = 12, prompt: tuple[int, ...] = PROMPT) -> EngineRequest:
    return EngineRequest(prompt, adapter, tokens, frozenset({2}))


def at_once(engine: Engine) -> int:
    """How many requests run while others wait."""
    return BATCH_ROWS if engine.batching is Batching.CONTINUOUS else 1


async def run(engine: Engine, request: EngineRequest) -> list[TokenEvent]:
    async with aclosing(engine.generate(request)) as events:
        return [event async for event in events]


async def tokens_of(engine: Engine, request: EngineRequest) -> list[int]:
    return [event.token_id for event in await run(engine, request)]


@pytest.mark.parametrize(("load_engine", "architecture"), engines_for(ARCHITECTURES), indirect=["load_engine"])
async def test_greedy_tokens_are_those_of_peft(
    architecture: str, tiny: Callable[..., Path], load_engine: LoadEngine, tmp_path: Path
) -> None:
    base = tiny(architecture)
    adapter = make_adapter(base, tmp_path, architecture)
    engine, fingerprint = await load_engine(base)
    attached = await engine.attach(read_adapter(adapter, fingerprint, A))
    assert attached.applied_tensors > 0
    alone, adapted = expected_tokens(base, None, list(PROMPT), 12), expected_tokens(base, adapter, list(PROMPT), 12)
    assert alone != adapted
    assert await tokens_of(engine, ask()) == alone
    assert await tokens_of(engine, ask(A)) == adapted
    assert await tokens_of(engine, ask()) == alone


async def test_rank_alpha_and_rslora_are_those_of_peft(
    tiny: Callable[..., Path], load_engine: LoadEngine, tmp_path: Path
) -> None:
    base = tiny()
    adapter = make_adapter(
        base,
        tmp_path,
        rank_pattern={"layers.1.self_attn.q_proj": 2},
        alpha_pattern={"v_proj": 3},
        use_rslora=True,
        exclude_modules=["layers.0.mlp.down_proj"],
    )
    engine, fingerprint = await load_engine(base)
    await engine.attach(read_adapter(adapter, fingerprint, A))
    assert await tokens_of(engine, ask(A)) == expected_tokens(base, adapter, list(PROMPT), 12)


async def test_interleaved_requests_answer_as_alone(
    tiny: Callable[..., Path], load_engine: LoadEngine, tmp_path: Path
) -> None:
    base = tiny()
    engine, fingerprint = await load_engine(base)
    for digest, seed in ((A, 1), (B, 2)):
        directory = make_adapter(base, tmp_path / digest, seed=seed)
        await engine.attach(read_adapter(directory, fingerprint, digest))
    requests = [ask(adapter, prompt=PROMPT[: 2 + index]) for index in range(3) for adapter in (None, A, B)]
    alone = [await tokens_of(engine, request) for request in requests]
    assert len({tuple(answer) for answer in alone}) > 3
    together = await asyncio.gather(*(tokens_of(engine, request) for request in requests * 2))
    assert together == alone * 2


async def test_ends_at_a_stop_token_or_at_the_limit(tiny: Callable[..., Path], load_engine: LoadEngine) -> None:
    engine, _ = await load_engine(tiny())
    events = await run(engine, ask(tokens=6))
    assert [event.finish for event in events] == [None] * 5 + [FinishReason.LENGTH]
    stop = events[2].token_id
    first = [event.token_id for event in events].index(stop)
    stopped = await run(engine, dataclasses.replace(ask(tokens=6), stop_token_ids=frozenset({stop})))
    assert len(stopped) == first + 1
    assert stopped[-1] == TokenEvent(stop, FinishReason.STOP)
    assert len(await run(engine, ask(tokens=1))) == 1


async def test_seeded_samples_repeat_and_others_vary(tiny: Callable[..., Path], load_engine: LoadEngine) -> None:
    engine, _ = await load_engine(tiny())

    async def sample(seed: int | None, **values: float) -> list[int]:
        sampling = Sampling(temperature=values.get("temperature", 1.5), top_k=int(values.get("top_k", 0)), seed=seed)
        return await tokens_of(engine, dataclasses.replace(ask(tokens=20), sampling=sampling))

    assert await sample(7) == await sample(7) != await sample(8)
    assert await sample(None) != await sample(None)
    assert await sample(3, top_k=1) == await tokens_of(engine, ask(tokens=20))
    assert await sample(-(2**63)) == await sample(-(2**63))


async def test_what_does_not_fit_the_queue_is_refused_and_the_rest_is_answered(
    tiny: Callable[..., Path], load_engine: LoadEngine
) -> None:
    engine, _ = await load_engine(tiny(), queue_size=8)
    answers = await asyncio.gather(*(run(engine, ask()) for _ in range(50)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, DomainError)]
    assert len(refused) == 50 - 8 - at_once(engine)
    assert {error.reason for error in refused} == {Reason.QUEUE_FULL}
    assert all(error.retry_after for error in refused)
    assert all(len(answer) == 12 for answer in answers if isinstance(answer, list))
    assert len(await run(engine, ask())) == 12


async def test_cancelled_request_frees_the_engine_within_a_step(
    tiny: Callable[..., Path], load_engine: LoadEngine
) -> None:
    engine, _ = await load_engine(tiny(context=4096), queue_size=1)
    long = ask(tokens=4000)
    async with aclosing(engine.generate(long)) as events:
        await anext(events)
    async with asyncio.timeout(5):
        assert len(await run(engine, ask())) == 12

    running = [asyncio.create_task(run(engine, long)) for _ in range(at_once(engine))]
    waiting = asyncio.create_task(run(engine, long))
    await asyncio.sleep(0)  # all have entered now
    with pytest.raises(DomainError, match="waiting"):
        await run(engine, ask())
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    next_one = asyncio.create_task(run(engine, ask()))
    await asyncio.sleep(0)
    for task in running:
        task.cancel()
    async with asyncio.timeout(5):
        assert len(await next_one) == 12
    await asyncio.gather(*running, return_exceptions=True)


async def test_deadline_of_the_caller_ends_the_work(tiny: Callable[..., Path], load_engine: LoadEngine) -> None:
    engine, _ = await load_engine(tiny(context=4096))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await run(engine, ask(tokens=4000))
    async with asyncio.timeout(5):
        assert len(await run(engine, ask())) == 12


async def test_detached_adapter_is_gone_and_never_answered_by_the_base(
    tiny: Callable[..., Path], load_engine: LoadEngine, tmp_path: Path
) -> None:
    base = tiny()
    engine, fingerprint = await load_engine(base)
    await engine.attach(read_adapter(make_adapter(base, tmp_path), fingerprint, A))
    await engine.detach(A)
    await engine.detach(B)
    with pytest.raises(DomainError) as caught:
        await run(engine, ask(A))
    assert caught.value.reason is Reason.INTERNAL
    assert len(await run(engine, ask())) == 12


async def test_adapter_that_does_not_fit_leaves_the_engine_as_it_was(
    tiny: Callable[..., Path], load_engine: LoadEngine
) -> None:
    engine, _ = await load_engine(tiny())
    before = await tokens_of(engine, ask())
    fitting = LoraLayer("model.layers.0.self_attn.q_proj", torch.ones(2, 32), torch.ones(32, 2), 1.0)
    embedding = ModuleReplacement("model.embed_tokens", torch.ones(320, 32))
    for wrong, reason in (
        (dataclasses.replace(fitting, module="model.layers.9.self_attn.q_proj"), Reason.ADAPTER_MODULE_NOT_FOUND),
        (dataclasses.replace(fitting, module="model.norm"), Reason.ADAPTER_MODULE_NOT_FOUND),
        (dataclasses.replace(fitting, a=torch.ones(2, 31)), Reason.ADAPTER_SHAPE_MISMATCH),
        (dataclasses.replace(fitting, b=torch.ones(32, 3)), Reason.ADAPTER_SHAPE_MISMATCH),
        (dataclasses.replace(fitting, bias=torch.ones(31)), Reason.ADAPTER_SHAPE_MISMATCH),
        (dataclasses.replace(fitting, magnitude=torch.ones(1)), Reason.ADAPTER_SHAPE_MISMATCH),
        (dataclasses.replace(embedding, weight=torch.ones(321, 32)), Reason.ADAPTER_SHAPE_MISMATCH),
        (dataclasses.replace(embedding, bias=torch.ones(32)), Reason.ADAPTER_TENSOR_UNEXPECTED),
        (ModuleReplacement(fitting.module, torch.ones(32, 32)), Reason.ADAPTER_TENSOR_MISSING),
        (ModuleReplacement(fitting.module, torch.ones(32, 32), torch.ones(31)), Reason.ADAPTER_SHAPE_MISMATCH),
        (ModuleReplacement("model.layers.9", torch.ones(1)), Reason.ADAPTER_MODULE_NOT_FOUND),
    ):
        layers, replacements = ((wrong,), ()) if isinstance(wrong, LoraLayer) else ((), (wrong,))
        with pytest.raises(DomainError) as caught:
            await engine.attach(AdapterWeights(A, (fitting, *layers), replacements))
        assert caught.value.reason is reason
        with pytest.raises(DomainError):
            await run(engine, ask(A))
    assert await tokens_of(engine, ask()) == before


async def test_numbers_that_overflow_are_the_adapters_fault_and_hit_nobody_else(
    tiny: Callable[..., Path], load_engine: LoadEngine
) -> None:
    engine, _ = await load_engine(tiny())
    huge = LoraLayer("model.layers.0.self_attn.q_proj", torch.full((2, 32), 1e30), torch.full((32, 2), 1e30), 1.0)
    await engine.attach(AdapterWeights(A, (huge,)))
    before = await tokens_of(engine, ask())
    with pytest.raises(DomainError, match="not finite") as caught:
        await run(engine, ask(A))
    assert caught.value.reason is Reason.ADAPTER_INVALID
    assert await tokens_of(engine, ask()) == before


async def test_single_steps_go_before_requests_that_wait_and_are_never_refused(
    tiny: Callable[..., Path], load_engine: LoadEngine
) -> None:
    engine, _ = await load_engine(tiny(context=4096), queue_size=2)
    want = await engine.next_token_logits(PROMPT, None)
    assert want.shape == (engine.vocabulary_size,)
    assert (want.dtype, want.device.type) == (torch.float32, "cpu")
    assert int(want.argmax()) == (await tokens_of(engine, ask(tokens=1)))[0]

    order: list[str] = []

    async def request(name: str, tokens: int) -> None:
        await run(engine, ask(tokens=tokens))
        order.append(name)

    async def step() -> None:
        assert torch.equal(await engine.next_token_logits(PROMPT, None), want)
        order.append("step")

    requests = [asyncio.create_task(request(name, 200)) for name in ("first", "second", "third")]
    await asyncio.sleep(0.02)
    steps = [asyncio.create_task(step()) for _ in range(5)]
    await asyncio.gather(*requests, *steps)
    # One at a time they wait for the request that runs; in a batch, for a step.
    assert order[:-2] == (["first", *["step"] * 5] if at_once(engine) == 1 else [*["step"] * 5, "first"])


async def test_single_step_that_is_cancelled_or_fails_disturbs_nobody(
    tiny: Callable[..., Path], load_engine: LoadEngine
) -> None:
    engine, _ = await load_engine(tiny(context=4096))
    before = await tokens_of(engine, ask())
    running = asyncio.create_task(run(engine, ask(tokens=300)))
    await asyncio.sleep(0.02)
    cancelled = asyncio.create_task(engine.next_token_logits(PROMPT, None))
    failing = asyncio.create_task(engine.next_token_logits(PROMPT, A))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    with pytest.raises(DomainError) as caught:
        await failing
    assert caught.value.reason is Reason.INTERNAL
    assert len(await running) == 300
    assert await tokens_of(engine, ask()) == before


async def test_adapter_that_is_detached_in_the_middle_goes_on_until_its_generation_ends(
    tiny: Callable[..., Path], load_engine: LoadEngine, tmp_path: Path
) -> None:
    base = tiny(context=4096)
    engine, fingerprint = await load_engine(base)
    await engine.attach(read_adapter(make_adapter(base, tmp_path, modules_to_save=["lm_head"]), fingerprint, A))
    whole = await tokens_of(engine, ask(A, tokens=60))
    found = []
    async with aclosing(engine.generate(ask(A, tokens=60))) as events:
        async for event in events:
            found.append(event.token_id)
            await engine.detach(A)
    assert found == whole
    with pytest.raises(DomainError):
        await run(engine, ask(A))


async def test_closing_ends_what_runs(tiny: Callable[..., Path], load_engine: LoadEngine) -> None:
    engine, _ = await load_engine(tiny(context=4096))
    running = asyncio.create_task(run(engine, ask(tokens=4000)))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await engine.close()
        with pytest.raises(DomainError) as caught:
            await running
    assert caught.value.reason is Reason.CANCELLED


async def test_says_what_it_is(tiny: Callable[..., Path], load_engine: LoadEngine) -> None:
    engine, fingerprint = await load_engine(tiny())
    assert engine.compute.startswith("float32, cpu")
    assert bool(engine.batching_note) is (engine.batching is Batching.ONE_AT_A_TIME)
    assert engine.dtype is torch.float32
    assert engine.context_length == 512
    assert engine.vocabulary_size == 320
    kv = 0 if engine.batching is Batching.ONE_AT_A_TIME else 2**24 + 2**22
    assert 0 <= engine.size_bytes - 4 * fingerprint.parameter_count <= kv
    assert engine.tensor_count == len(fingerprint.tensors)
