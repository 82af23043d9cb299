"""Greedy answers are plain PEFT's, token by token, alone and in a mix; a mix changes nobody's answer."""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from services.common.identity import BaseFingerprint
from services.inference.engine.protocol import Engine, EngineRequest, Sampling
from tests.contract.inference.engines import LoadEngine, engines_for
from tests.contract.inference.reference import Reference
from tests.contract.inference.samples import TARGETS, make_adapter, read_adapter
from tests.contract.inference.test_engine import tokens_of
from tests.contract.inference.variants import options
from tests.support.tiny_bases import ARCHITECTURES

MIX: Final[Sequence[tuple[str, Mapping[str, Any]]]] = (
    ("plain", {"r": 4, "lora_alpha": 16}),
    ("plain", {"r": 8, "lora_alpha": 4}),
    ("plain", {"r": 16, "lora_alpha": 32}),
    ("plain", {"r": 64, "lora_alpha": 16}),
    ("rslora", {"r": 8, "lora_alpha": 8}),
    ("rslora", {"r": 64, "lora_alpha": 16}),
    ("all linear", {"r": 16, "lora_alpha": 8}),
    ("layers_to_transform", {"r": 8}),
    ("rank and alpha patterns", {"r": 16, "lora_alpha": 8}),
    ("lora_bias", {"r": 8}),
    ("dora", {"r": 4, "lora_alpha": 8}),
    ("dora with rslora and ranks", {"r": 16, "lora_alpha": 16}),
    ("embedding", {"r": 8}),
    ("output", {"r": 4}),
    ("replaced linear", {"r": 8}),
    ("replaced both", {"r": 8}),
)
"""Sixteen adapters: variant and settings."""

LONG: Final = tuple(3 + (7 * index + index * index // 5) % 250 for index in range(330))


@dataclass(frozen=True, slots=True)
class Family:
    """A base with its sixteen adapters, by the digest that the engine knows each by."""

    base: Path
    adapters: Mapping[str, Path]
    reference: Reference

    async def attach(self, engine: Engine, fingerprint: BaseFingerprint) -> None:
        for digest, directory in self.adapters.items():
            await engine.attach(read_adapter(directory, fingerprint, digest))

    def check(self, request: EngineRequest, tokens: Sequence[int]) -> None:
        assert len(tokens) == request.max_tokens
        adapter = None if request.adapter is None else self.adapters[request.adapter]
        self.reference.check_greedy(request.token_ids, tokens, adapter)


Families = Callable[[str], Family]


@pytest.fixture(scope="module")
def family(tiny: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Families:
    """Make a base's adapters, or give those that were made before."""
    made: dict[str, Family] = {}

    def make(architecture: str) -> Family:
        if architecture not in made:
            base, directory = tiny(architecture), tmp_path_factory.mktemp(f"{architecture}-mix")
            adapters = {}
            for number, (variant, settings) in enumerate(MIX):
                chosen = {"target_modules": TARGETS[architecture], **options(variant, architecture), **settings}
                path = make_adapter(base, directory / str(number), architecture, seed=number, **chosen)
                adapters[f"{number:064x}"] = path
            made[architecture] = Family(base, adapters, Reference(base))
        return made[architecture]

    return make


def ask(prompt: Sequence[int], adapter: str | None, tokens: int = 12, **sampling: Any) -> EngineRequest:
    return EngineRequest(tuple(prompt), adapter, tokens, frozenset(), Sampling(**sampling))


def mixed(adapters: Mapping[str, Path]) -> list[EngineRequest]:
    """A request for each adapter with base-only ones among them; prompts of 1 to 52 tokens."""
    names = [
        name for number, digest in enumerate(adapters) for name in ([digest, None] if number % 4 == 1 else [digest])
    ]
    return [ask(LONG[number : 2 * number + 1 + 13 * (number % 2)], name) for number, name in enumerate(names)]


async def later(engine: Engine, request: EngineRequest, seconds: float) -> list[int]:
    await asyncio.sleep(seconds)
    return await tokens_of(engine, request)


@pytest.mark.parametrize(("load_engine", "architecture"), engines_for(ARCHITECTURES), indirect=["load_engine"])
async def test_answers_are_those_of_peft_alone_and_in_a_mix(
    architecture: str, family: Families, load_engine: LoadEngine
) -> None:
    it = family(architecture)
    engine, fingerprint = await load_engine(it.base)
    await it.attach(engine, fingerprint)
    requests = mixed(it.adapters)
    for request in requests[:3]:
        it.check(request, await tokens_of(engine, request))
    together = await asyncio.gather(*(tokens_of(engine, request) for request in requests))
    for request, tokens in zip(requests, together, strict=True):
        it.check(request, tokens)
    assert len({tuple(tokens) for tokens in together}) > len(MIX) // 2


@pytest.mark.parametrize(
    ("load_engine", "architecture"), engines_for(["qwen2", "mistral", "gpt2"]), indirect=["load_engine"]
)
async def test_who_comes_later_disturbs_nobody(architecture: str, family: Families, load_engine: LoadEngine) -> None:
    it = family(architecture)
    engine, fingerprint = await load_engine(it.base)
    await it.attach(engine, fingerprint)
    lengths = (4, 30, 9, 17)
    requests = [
        dataclasses.replace(request, max_tokens=lengths[number % len(lengths)])
        for number, request in enumerate(mixed(it.adapters))
    ]
    found = await asyncio.gather(*(later(engine, request, 0.003 * index) for index, request in enumerate(requests)))
    for request, tokens in zip(requests, found, strict=True):
        it.check(request, tokens)


async def test_seeded_samples_are_the_same_alone_and_in_a_mix(family: Families, load_engine: LoadEngine) -> None:
    it = family("qwen2")
    engine, fingerprint = await load_engine(it.base)
    await it.attach(engine, fingerprint)
    settings: list[dict[str, Any]] = [{}, {"top_k": 20}, {"top_p": 0.8}, {"top_k": 50, "top_p": 0.9}]
    requests = [
        dataclasses.replace(
            request, sampling=Sampling(temperature=0.7 + number % 3, seed=number, **settings[number % len(settings)])
        )
        for number, request in enumerate(mixed(it.adapters))
    ]
    alone = [await tokens_of(engine, request) for request in requests]
    together = await asyncio.gather(*(tokens_of(engine, request) for request in requests))
    assert together == alone
    others = [dataclasses.replace(request, sampling=Sampling(temperature=1, seed=99)) for request in requests[:3]]
    assert [await tokens_of(engine, request) for request in others] != alone[:3]


@pytest.mark.parametrize(("load_engine", "architecture"), engines_for(ARCHITECTURES), indirect=["load_engine"])
async def test_long_prompts_are_read_whole(architecture: str, family: Families, load_engine: LoadEngine) -> None:
    it = family(architecture)
    engine, fingerprint = await load_engine(it.base)
    await it.attach(engine, fingerprint)
    names = [None, *it.adapters][:: 5 if architecture == "qwen2" else 8]
    requests = [ask(LONG[number:], name, tokens=6) for number, name in enumerate(names)]
    requests += [ask(LONG[:5], name, tokens=20) for name in names]
    for request, tokens in zip(
        requests, await asyncio.gather(*(tokens_of(engine, request) for request in requests)), strict=True
    ):
        it.check(request, tokens)


@pytest.mark.parametrize(("load_engine", "architecture"), engines_for(["qwen2", "gemma2"]), indirect=["load_engine"])
async def test_prompts_that_begin_alike_share_nothing_that_differs(
    architecture: str, family: Families, load_engine: LoadEngine
) -> None:
    it = family(architecture)
    engine, fingerprint = await load_engine(it.base)
    await it.attach(engine, fingerprint)
    first, second = list(it.adapters)[:2]
    for prompt in (LONG[:200], LONG[:200], LONG[:150], (*LONG[:200], 9, 8, 7), (*LONG[:160], 9, *LONG[161:200])):
        for name in (first, None, second):
            request = ask(prompt, name, tokens=8)
            it.check(request, await tokens_of(engine, request))
