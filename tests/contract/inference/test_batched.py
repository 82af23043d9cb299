"""What the batched engine alone has to promise: memory that is short, beginnings that come again, steps that fail."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest
import torch

from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, open_base
from services.inference.engine.batched.engine import BatchedEngine
from services.inference.engine.loader import AutoEngineLoader, EngineOptions
from services.inference.engine.protocol import Batching, Engine, EngineRequest, Sampling
from tests.contract.inference.engines import KERNELS
from tests.contract.inference.leftovers import assert_nothing_is_left
from tests.contract.inference.samples import make_adapter, read_adapter
from tests.support.tiny_bases import ARCHITECTURES
from tests.unit.inference.engine import Observed

A, B = "a" * 64, "b" * 64
Load = Callable[..., Awaitable[tuple[BatchedEngine, "Counted", BaseFingerprint]]]


class Counted(Observed):
    """Counts what the engine tells."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def prefix(self, *, reused: int, computed: int) -> None:
        self.counts["reused"] += reused
        self.counts["computed"] += computed

    def preempted(self) -> None:
        self.counts["preempted"] += 1

    def slot(self, *, hit: bool) -> None:
        self.counts["hit" if hit else "miss"] += 1


@pytest.fixture
async def load(tiny: Callable[..., Path]) -> AsyncIterator[Load]:
    async with AsyncExitStack() as stack:

        async def make(**options: Any) -> tuple[BatchedEngine, Counted, BaseFingerprint]:
            settings = EngineOptions(
                **{"dtype": "float32", "kv_bytes": 2**22, "prefix_bytes": 2**20, "kernels_dir": KERNELS, **options}
            )
            with open_base(tiny(context=2048)) as opened:
                fingerprint, counted = opened.fingerprint(), Counted()
                engine = await AutoEngineLoader(settings).load(opened, fingerprint, counted)
            stack.push_async_callback(engine.close)
            assert isinstance(engine, BatchedEngine)
            return engine, counted, fingerprint

        yield make


async def tokens(engine: Engine, prompt: range, adapter: str | None = None, *, count: int = 20) -> list[int]:
    request = EngineRequest(tuple(prompt), adapter, count, frozenset())
    async with aclosing(engine.generate(request)) as events:
        return [event.token_id async for event in events]


@pytest.mark.parametrize("kernels_dir", [KERNELS, None])
async def test_another_base_that_is_being_loaded_changes_nothing(
    load: Load, tiny: Callable[..., Path], tmp_path: Path, kernels_dir: Path | None
) -> None:
    usual, _, fingerprint = await load(kernels_dir=kernels_dir)
    fresh, _, _ = await load(kernels_dir=kernels_dir)
    sampling = Sampling(temperature=1.0, top_p=0.9, seed=5)
    request = EngineRequest(tuple(range(10, 40)), A, 30, frozenset(), sampling=sampling)
    adapter = read_adapter(make_adapter(tiny(context=2048), tmp_path / "adapter"), fingerprint, A)

    async def answer(engine: Engine) -> list[int]:
        await engine.attach(adapter)
        async with aclosing(engine.generate(request)) as events:
            return [event.token_id async for event in events]

    want = await answer(usual)
    torch.set_default_dtype(torch.bfloat16)  # as transformers does meanwhile, for the whole process
    try:
        assert await answer(fresh) == want
    finally:
        torch.set_default_dtype(torch.float32)


async def test_memory_that_is_short_costs_time_and_no_answer(load: Load) -> None:
    roomy, _, _ = await load()
    prompts = [range(10 + i, 60 + i) for i in range(8)]
    want = [await tokens(roomy, prompt, count=200) for prompt in prompts]
    tight, counted, _ = await load(kv_bytes=2**18, prefix_bytes=0)
    assert await asyncio.gather(*(tokens(tight, prompt, count=200) for prompt in prompts)) == want
    assert counted.counts["preempted"] > 0


async def test_one_that_outgrows_half_of_the_memory_alone_is_answered_whole(load: Load) -> None:
    roomy, _, _ = await load()
    want = await tokens(roomy, range(10, 60), count=900)
    tight, counted, _ = await load(kv_bytes=2**18, prefix_bytes=2**17)  # 1024 positions
    assert await tokens(tight, range(10, 60), count=900) == want
    assert counted.counts["preempted"] > 0
    assert_nothing_is_left(tight)


async def test_what_could_never_have_room_is_refused(load: Load) -> None:
    tight, _, _ = await load(kv_bytes=2**16)
    with pytest.raises(DomainError, match="TENON_INFERENCE_KV_BYTES") as caught:
        await tokens(tight, range(10, 40), count=1900)
    assert caught.value.reason is Reason.LIMIT_EXCEEDED


async def test_a_beginning_is_computed_once_for_an_adapter_and_never_for_another(
    load: Load, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    engine, counted, fingerprint = await load()
    base, prompt = tiny(context=2048), range(20, 150)
    for digest, seed in ((A, 1), (B, 2)):
        await engine.attach(read_adapter(make_adapter(base, tmp_path / digest, seed=seed), fingerprint, digest))
    first = [await tokens(engine, prompt, adapter) for adapter in (None, A, B)]
    assert counted.counts["reused"] == 0
    assert [await tokens(engine, prompt, adapter) for adapter in (None, A, B)] == first
    assert counted.counts["reused"] == 3 * 128
    # An adapter that takes another's name is another adapter.
    await engine.detach(A)
    await engine.attach(read_adapter(tmp_path / B, fingerprint, A))
    assert await tokens(engine, range(20, 50), A) == await tokens(engine, range(20, 50), B)


async def test_more_adapters_than_slots_take_turns(load: Load, tiny: Callable[..., Path], tmp_path: Path) -> None:
    engine, counted, fingerprint = await load(slots=2)
    base, digests = tiny(context=2048), [f"{i:064d}" for i in range(5)]
    for i, digest in enumerate(digests):
        await engine.attach(read_adapter(make_adapter(base, tmp_path / digest, seed=i), fingerprint, digest))
    alone = [await tokens(engine, range(30, 40), digest) for digest in digests]
    assert len({tuple(answer) for answer in alone}) == 5
    together = await asyncio.gather(*(tokens(engine, range(30, 40), digest) for digest in digests * 3))
    assert together == alone * 3
    assert counted.counts["miss"] >= 5


async def test_an_adapter_that_is_attached_again_while_it_is_used_leaves_nothing_behind(
    load: Load, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    engine, _, fingerprint = await load(slots=4)
    base = tiny(context=2048)

    async def attach(digest: str, *modules: str) -> None:
        directory = make_adapter(base, tmp_path / digest, target_modules=list(modules))
        await engine.attach(read_adapter(directory, fingerprint, digest))

    await attach(B, "q_proj", "o_proj")
    await attach(A, "q_proj")  # lies as the first one does
    want = await tokens(engine, range(30, 40), A, count=1500)
    running = asyncio.create_task(tokens(engine, range(30, 40), A, count=1500))
    while not engine._room._open:
        await asyncio.sleep(0.001)
    await attach("c" * 64, "q_proj", "k_proj")  # a narrower layout, which A fits into as well
    for _ in range(3):
        await engine.detach(A)
        await engine.attach(read_adapter(tmp_path / A, fingerprint, A))
        engine.prefetch(A)
        assert await tokens(engine, range(30, 40), A) == want[:20]
        assert not running.done()
    assert await running == want
    assert await tokens(engine, range(30, 40), A, count=1500) == want
    for digest in (A, B, "c" * 64):
        await engine.detach(digest)
    await engine.next_token_logits([5], None)  # what was sent before it has been done
    assert_nothing_is_left(engine)
    assert not any(bank.residents for bank in engine._room._slots._banks.values())


async def test_exception_in_a_step_fails_its_requests_and_no_others(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _, _ = await load(batch_rows=2)
    want = await tokens(engine, range(30, 40))
    compute, steps = engine._model.compute, 0

    def failing(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 5:
            raise RuntimeError("a secret of the step")
        return compute(*arguments)

    monkeypatch.setattr(engine._model, "compute", failing)
    answers = await asyncio.gather(*(tokens(engine, range(30, 40)) for _ in range(6)), return_exceptions=True)
    failed = [answer for answer in answers if isinstance(answer, DomainError)]
    assert [error.reason for error in failed] == [Reason.INTERNAL] * 2
    assert all("secret" not in error.message for error in failed)
    assert [answer for answer in answers if isinstance(answer, list)] == [want] * 4


async def test_one_whose_room_cannot_be_made_fails_alone(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _, _ = await load()
    want = await tokens(engine, range(30, 40), count=400)
    restore = engine._room._prefixes.restore
    hit = tuple(range(50, 60))

    def failing(memory: Any, span: Any, adapter: Any, beginning: Any) -> int:
        if tuple(beginning) == hit[:-1]:
            raise torch.OutOfMemoryError("a secret of the device")
        return restore(memory, span, adapter, beginning)

    monkeypatch.setattr(engine._room._prefixes, "restore", failing)
    running = [asyncio.create_task(tokens(engine, range(30, 40), count=400)) for _ in range(3)]
    await asyncio.sleep(0.05)
    with pytest.raises(DomainError, match="memory") as caught:
        await tokens(engine, range(50, 60))
    assert caught.value.reason is Reason.OUT_OF_MEMORY
    assert await asyncio.gather(*running) == [want] * 3
    assert_nothing_is_left(engine)


async def test_errands_that_fail_disturb_nobody(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _, _ = await load()
    want = await tokens(engine, range(30, 40), count=200)
    logits = await engine.next_token_logits([30, 31], None)

    def failing(digest: str) -> None:
        raise torch.OutOfMemoryError(digest)

    monkeypatch.setattr(engine._room, "prefetch", failing)
    running = asyncio.create_task(tokens(engine, range(30, 40), count=200))
    await asyncio.sleep(0.02)
    engine.prefetch(A)
    async with asyncio.timeout(10):
        assert torch.equal(await engine.next_token_logits([30, 31], None), logits)
        assert await running == want


async def test_beginnings_that_cannot_be_kept_cost_nobody_an_answer(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _, _ = await load()
    want = await tokens(engine, range(30, 110))
    fresh, recounted, _ = await load()
    stores = fresh._room._prefixes._stores
    whole, torn = list(stores), [*stores[:-1], stores[-1][:, :1]]  # the last copy fails, those before it have been made
    monkeypatch.setattr(fresh._room._prefixes, "_stores", torn)
    async with asyncio.timeout(10):
        assert await tokens(fresh, range(30, 110)) == want
        monkeypatch.setattr(fresh._room._prefixes, "_stores", whole)
        assert [await tokens(fresh, range(30, 110)) for _ in range(2)] == [want] * 2
    assert recounted.counts["reused"] == 64  # by the third alone: nothing half made was found by the second
    assert_nothing_is_left(fresh)


async def test_a_failure_outside_of_a_step_is_told_to_all_and_leaves_a_working_engine(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _, _ = await load()
    want = await tokens(engine, range(30, 40))
    finish, calls = engine._scheduler.finish, 0

    def failing(row: Any) -> None:
        nonlocal calls
        finish(row)
        calls += 1
        if calls <= 2:
            raise RuntimeError("a secret of the scheduler")

    monkeypatch.setattr(engine._scheduler, "finish", failing)
    async with asyncio.timeout(10):
        answers = await asyncio.gather(*(tokens(engine, range(30, 40)) for _ in range(4)), return_exceptions=True)
        failed = [answer for answer in answers if isinstance(answer, DomainError)]
        assert {error.reason for error in failed} == {Reason.INTERNAL}
        assert [answer for answer in answers if isinstance(answer, list)] == [want] * (4 - len(failed))
        assert await tokens(engine, range(30, 40)) == want
    assert_nothing_is_left(engine)


async def test_who_reads_slowly_takes_nobodys_place(load: Load) -> None:
    engine, _, _ = await load(batch_rows=1, queue_size=2)
    want = await tokens(engine, range(30, 40))
    async with AsyncExitStack() as readers:
        slow = [
            await readers.enter_async_context(
                aclosing(engine.generate(EngineRequest(tuple(range(30, 40)), None, 20, frozenset())))
            )
            for _ in range(3)
        ]
        first = [(await anext(events)).token_id for events in slow]
        async with asyncio.timeout(5):
            while engine._of:
                await asyncio.sleep(0.01)
        # All of them are computed, though nobody has read them.
        assert await asyncio.gather(*(tokens(engine, range(30, 40)) for _ in range(3))) == [want] * 3
        rest = [[event.token_id async for event in events] for events in slow]
        assert [[token, *others] for token, others in zip(first, rest, strict=True)] == [want] * 3


async def test_an_engine_whose_load_is_cancelled_is_closed(tiny: Callable[..., Path]) -> None:
    """Cancelled ever later, until it is loaded before that."""
    loader = AutoEngineLoader(EngineOptions(dtype="float32", kv_bytes=2**22, prefix_bytes=2**20))
    delay, loaded = 0.0, None
    while loaded is None:
        with open_base(tiny(context=2048)) as opened:
            loading = asyncio.create_task(loader.load(opened, opened.fingerprint(), Counted()))
            await asyncio.wait([loading], timeout=delay)
            if not loading.done():
                loading.cancel()
                await asyncio.wait([loading])
                # What the thread still does needs the files no more.
                while any(thread.name == "own" for thread in threading.enumerate()):
                    await asyncio.sleep(0.001)
                assert loading.cancelled()
                assert not loader._thread._workers
            else:
                loaded = loading.result()
        delay += 0.01
    assert delay > 0.03
    await loaded.close()


async def test_closing_tells_those_who_wait(load: Load) -> None:
    engine, _, _ = await load()
    running = asyncio.create_task(tokens(engine, range(30, 40), count=1900))
    await asyncio.sleep(0.05)
    await engine.close()
    with pytest.raises(DomainError) as caught:
        await running
    assert caught.value.reason is Reason.CANCELLED
    with pytest.raises(DomainError):
        await tokens(engine, range(30, 40))
    with pytest.raises(DomainError):
        await engine.next_token_logits([30], None)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
async def test_which_families_have_a_forward_pass_of_their_own(architecture: str, tiny: Callable[..., Path]) -> None:
    with open_base(tiny(architecture)) as opened:
        engine = await AutoEngineLoader(EngineOptions(dtype="float32", kv_bytes=2**22, prefix_bytes=0)).load(
            opened, opened.fingerprint(), Observed()
        )
    assert engine.batching is Batching.CONTINUOUS
    assert ("fused layers" in engine.compute) is (architecture in {"llama", "mistral", "qwen2", "qwen3"})
    await engine.close()
