"""Everything at once, for a while: no answer is wrong, and nothing is left of those who asked."""

import asyncio
import dataclasses
import gc
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from services.common.bases.text import load_text
from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, open_base
from services.inference.constraints.kinds import Regex
from services.inference.constraints.matcher import Matcher
from services.inference.constraints.vocabulary import Vocabulary
from services.inference.engine.batched.engine import BatchedEngine
from services.inference.engine.loader import AutoEngineLoader, EngineOptions
from services.inference.engine.protocol import EngineRequest, Sampling, TokenEvent
from tests.contract.inference.engines import KERNELS
from tests.contract.inference.leftovers import assert_nothing_is_left
from tests.contract.inference.reference import Reference
from tests.contract.inference.samples import TARGETS, make_adapter, read_adapter
from tests.contract.inference.test_equality import LONG, MIX
from tests.contract.inference.variants import options
from tests.unit.inference.engine import Observed

SECONDS: Final = 45.0
CLIENTS: Final = 40
STOP: Final = 2
PATTERN: Final = "[0-9]{4}(x[0-9]{4})?"
GROWTH: Final = 48 * 2**20
"""Bytes that the process may grow by in the last third: until then oneDNN keeps a program for each new shape."""


class Counted(Observed):
    """Counts what the engine tells, and keeps none of it."""

    def __init__(self) -> None:
        super().__init__()
        self.preemptions = self.reused = self.misses = self.most = 0

    def preempted(self) -> None:
        self.preemptions += 1

    def prefix(self, *, reused: int, computed: int) -> None:
        self.reused += reused

    def slot(self, *, hit: bool) -> None:
        self.misses += not hit

    def stepped(self, *, decoding: int, prefilled: int, seconds: float) -> None:
        self.most = max(self.most, decoding)

    def admitted(self, waited: float) -> None: ...

    def kv_used(self, used: int, total: int) -> None: ...


@dataclass
class Place:
    """A base in its engine, its adapters, and what is known of its answers."""

    base: Path
    engine: BatchedEngine
    fingerprint: BaseFingerprint
    counted: Counted
    adapters: Mapping[str, Path]
    vocabulary: Vocabulary
    matcher: Matcher
    reference: Reference
    known: dict[tuple[Any, ...], list[int]] = field(default_factory=dict)
    users: Counter[str | None] = field(default_factory=Counter)
    leaving: set[str | None] = field(default_factory=set)

    async def attach(self, digest: str) -> None:
        await self.engine.attach(read_adapter(self.adapters[digest], self.fingerprint, digest))

    def check(self, request: EngineRequest, tokens: list[int]) -> None:
        """Greedy answers are plain PEFT's, up to ties; it is asked where an answer is new."""
        key = request.token_ids, request.adapter, request.max_tokens
        if self.known.get(key) != tokens:
            adapter = None if request.adapter is None else self.adapters[request.adapter]
            self.reference.check_greedy(request.token_ids, tokens, adapter)
            self.known.setdefault(key, tokens)


@pytest.fixture
async def places(tiny: Callable[..., Path], tmp_path: Path) -> AsyncIterator[list[Place]]:
    """Two bases in one thread; memory for few of their requests, slots for few of their adapters."""
    loader = AutoEngineLoader(
        EngineOptions(
            dtype="float32",
            queue_size=24,
            batch_rows=12,
            slots=5,
            kv_bytes=2**18,
            prefix_bytes=2**17,
            kernels_dir=KERNELS,
        )
    )
    async with AsyncExitStack() as stack:
        made = []
        for architecture in ("qwen2", "gpt2"):
            base = tiny(architecture)
            adapters = {}
            for number, (variant, settings) in enumerate(MIX[::2]):
                chosen = {"target_modules": TARGETS[architecture], **options(variant, architecture), **settings}
                directory = tmp_path / architecture / str(number)
                adapters[f"{number:064x}"] = make_adapter(base, directory, architecture, seed=number, **chosen)
            with open_base(base) as opened:
                fingerprint, counted, text = opened.fingerprint(), Counted(), load_text(opened)
                engine = await loader.load(opened, fingerprint, counted)
            stack.push_async_callback(engine.close)
            assert isinstance(engine, BatchedEngine)
            vocabulary = Vocabulary(text.tokenizer, engine.vocabulary_size)
            matcher = vocabulary.compile(Regex(PATTERN), {STOP})
            reference = Reference(base)
            place = Place(base, engine, fingerprint, counted, adapters, vocabulary, matcher, reference)
            for digest in adapters:
                await place.attach(digest)
            made.append(place)
        yield made


def chosen(place: Place, random: Random) -> EngineRequest:
    adapter = random.choice([one for one in (None, *place.adapters) if one not in place.leaving])
    begin = random.choice((0, 5, 10))
    prompt = LONG[begin : begin + random.choice((1, 7, 40, 100, 230))]
    sampling = random.choice((Sampling(), Sampling(), Sampling(1.0, 0.9, 20), Sampling(1.2, repetition_penalty=1.3)))
    return EngineRequest(
        prompt, adapter, random.choice((1, 4, 16, 120)), frozenset(), sampling, project=random.choice("abc")
    )


async def read(place: Place, request: EngineRequest) -> list[TokenEvent]:
    async with aclosing(place.engine.generate(request)) as events:
        return [event async for event in events]


async def plain(place: Place, random: Random, request: EngineRequest) -> str:
    tokens = [event.token_id for event in await read(place, request)]
    assert len(tokens) == request.max_tokens
    if request.sampling == Sampling():
        place.check(request, tokens)
        return "greedy"
    return "sampled"


async def constrained(place: Place, random: Random, request: EngineRequest) -> str:
    sampling = Sampling(random.choice((0.0, 1.0)), logprobs=random.choice((None, 3)))
    request = dataclasses.replace(
        request,
        max_tokens=12,
        sampling=sampling,
        stop_token_ids=frozenset({STOP}),
        constraint=place.matcher.copy(),
    )
    events = await read(place, request)
    assert all((event.logprobs is None) is (sampling.logprobs is None) for event in events)
    text = b"".join(place.vocabulary.text(event.token_id) for event in events if event.token_id != STOP).decode()
    assert re.fullmatch(PATTERN, text), text
    return "constrained"


async def several(place: Place, random: Random, request: EngineRequest) -> str:
    """As many answers as a request may ask for; all of them are the same greedily."""
    request = dataclasses.replace(request, max_tokens=6, sampling=Sampling())
    answers = await asyncio.gather(*(read(place, request) for _ in range(4)), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
        place.check(request, [event.token_id for event in answer])
    return "several"


async def cancelled(place: Place, random: Random, request: EngineRequest) -> str:
    request = dataclasses.replace(request, max_tokens=250)
    task = asyncio.create_task(read(place, request))
    await asyncio.sleep(random.expovariate(8))
    task.cancel()
    found = (await asyncio.gather(task, return_exceptions=True))[0]
    if isinstance(found, DomainError):
        raise found
    return "cancelled"


async def left(place: Place, random: Random, request: EngineRequest) -> str:
    """Reads a few tokens and goes."""
    request = dataclasses.replace(request, max_tokens=250)
    count = random.randrange(5)
    async with aclosing(place.engine.generate(request)) as events:
        async for _ in events:
            count -= 1
            if count < 0:
                break
    return "left"


async def client(places: list[Place], random: Random, until: float, counts: Counter[str]) -> None:
    kinds = (plain, plain, plain, constrained, several, cancelled, left)
    while time.monotonic() < until:
        place, kind = random.choice(places), random.choice(kinds)
        try:
            counts[await leased(place, random, kind)] += 1
        except DomainError as error:
            if error.reason is not Reason.QUEUE_FULL:
                raise
            counts["refused"] += 1
            await asyncio.sleep(0.05)


async def leased(place: Place, random: Random, kind: Callable[[Place, Random, EngineRequest], Awaitable[str]]) -> str:
    """Whoever asks keeps the adapter attached meanwhile, as the service does."""
    request = chosen(place, random)
    place.users[request.adapter] += 1
    try:
        return await kind(place, random, request)
    finally:
        place.users[request.adapter] -= 1


async def replacing(place: Place, random: Random, until: float, counts: Counter[str]) -> None:
    """Adapters are unloaded and loaded again, at the first moment at which nobody uses them."""
    while time.monotonic() < until:
        digest = random.choice(list(place.adapters))
        place.leaving.add(digest)
        while place.users[digest]:
            await asyncio.sleep(0.001)
        await place.engine.detach(digest)
        await place.attach(digest)
        place.leaving.remove(digest)
        counts["replaced"] += 1
        await asyncio.sleep(random.expovariate(20))


def resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.proof
@pytest.mark.timeout(300)
async def test_everything_at_once_for_a_while(places: list[Place], capsys: pytest.CaptureFixture[str]) -> None:
    counts: Counter[str] = Counter()
    random, started = Random(4), time.monotonic()

    async def go_on(until: float) -> None:
        tasks = [client(places, Random(random.random()), until, counts) for _ in range(CLIENTS)]
        tasks += [replacing(place, Random(random.random()), until, counts) for place in places]
        await asyncio.gather(*tasks)

    await go_on(started + SECONDS * 2 / 3)
    warm = resident_bytes()
    await go_on(started + SECONDS)
    grown = resident_bytes() - warm
    with capsys.disabled():
        preempted = sum(place.counted.preemptions for place in places)
        print(f"\n{dict(counts)}, preempted {preempted}, grown by {grown / 2**20:.1f} MiB")
    assert min(counts[kind] for kind in ("greedy", "constrained", "several", "cancelled", "left", "replaced")) > 20
    assert preempted
    for place in places:
        assert place.counted.reused
        assert place.counted.misses
        assert place.counted.most > 4
        async with asyncio.timeout(5):
            while place.engine._of:
                await asyncio.sleep(0.01)
        assert_nothing_is_left(place.engine)
        for digest in place.adapters:
            await place.engine.detach(digest)
        await place.engine.next_token_logits([5], None)  # what was sent before it has been done
        assert not place.engine._room._slots._order
        assert not any(bank.residents for bank in place.engine._room._slots._banks.values())
    assert grown < GROWTH
