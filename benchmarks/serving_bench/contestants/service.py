"""The inference service, called through gRPC, with a registry in memory in place of the real one.

python -m benchmarks.serving_bench.contestants.service BASE DIRECTORY SLOTS ADAPTER…
"""

import argparse
import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from transformers.utils import logging as transformers_logging

from benchmarks.serving_bench.fixtures import record_probes
from benchmarks.serving_bench.messages import COLD, LOOP, READY, Wire
from services.common.artifacts.filesystem import FileSystemStore
from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, FingerprintSummary, fingerprint_base
from services.common.resource_names import AdapterVersionName
from services.common.rpc.channel import open_channel
from services.common.rpc.server import running_server
from services.inference.__main__ import inference
from services.inference.model import AdapterVersion, RegisteredBase
from services.inference.settings import InferenceSettings
from tenon.inference.v1 import inference_pb2 as pb
from tenon.inference.v1 import inference_pb2_grpc
from tests.contract.inference.samples import manifest_of, store_files
from tests.support.keys import signed, trusted_key_file

BASE: Final = "baseModels/benchmark"
WARM_CALLS: Final = 5
PROMPT_LETTERS: Final = (20, 28)
ANSWER_TOKENS: Final = (32, 96)
"""Different lengths, so that clients that began together do not stay together."""


@dataclass
class MemoryRegistry:
    """Implements ``Registry`` for one base and its adapters."""

    registered: RegisteredBase
    whole: BaseFingerprint
    versions: dict[str, AdapterVersion] = field(default_factory=dict)

    async def base(self, name: str) -> RegisteredBase:
        """See ``Registry``."""
        if name != self.registered.name:
            raise DomainError(Reason.BASE_MODEL_NOT_FOUND, f"There is no {name}.")
        return self.registered

    async def base_with_fingerprint(self, fingerprint_id: str) -> RegisteredBase | None:
        """See ``Registry``."""
        return self.registered if fingerprint_id == self.registered.fingerprint_id else None

    async def fingerprint(self, name: str) -> BaseFingerprint:
        """See ``Registry``."""
        await self.base(name)
        return self.whole

    async def resolve(self, name: str) -> AdapterVersion:
        """See ``Registry``."""
        return self.versions[name]


def registry_of(base: Path, adapters: Sequence[Path], store: FileSystemStore) -> MemoryRegistry:
    """Put adapters into a store and register them."""
    fingerprint = fingerprint_base(base)
    summary = FingerprintSummary.from_summary(fingerprint.summary())
    registry = MemoryRegistry(RegisteredBase(BASE, summary, (base.as_uri(),)), fingerprint)
    for directory in adapters:
        store_files(store, directory)
        manifest = manifest_of(directory, BASE, fingerprint)
        name = AdapterVersionName("default", directory.name, manifest.digest)
        version = AdapterVersion(name, manifest, manifest.to_bytes(), signed(manifest))
        registry.versions[_adapter(directory.name)] = version
        registry.versions[str(name)] = version
    return registry


class Contestant:
    """The service and a client, on an event loop of their own."""

    def __init__(self, base: Path, directory: Path, slots: int, adapters: Sequence[Path]) -> None:
        """Serve, with everything loaded."""
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        record_probes(base, adapters)
        self._client: inference_pb2_grpc.InferenceServiceAsyncStub = self._runner.run(
            self._start(base, directory, slots, adapters)
        )

    def describe(self, _: Mapping[str, Any]) -> Mapping[str, Any]:
        """What it computes with."""
        return {"threads": torch.get_num_threads()}

    def cold(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        """How long an adapter's first token takes when it is not in memory, and when it is."""
        return self._runner.run(self._cold(_adapter(command["adapter"]), command["seed"]))

    def loop(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        """What clients meet who ask again as soon as they are answered."""
        return self._runner.run(self._loop(command))

    async def _start(
        self, base: Path, directory: Path, slots: int, adapters: Sequence[Path]
    ) -> "inference_pb2_grpc.InferenceServiceAsyncStub":  # it is in the stubs alone
        (directory / "cache").mkdir()
        store = FileSystemStore.open(directory / "artifacts")
        registry = registry_of(base, adapters, store)
        settings = InferenceSettings(
            registry_target="unused",
            artifacts_url=(directory / "artifacts").as_uri(),
            cache_dir=directory / "cache",
            base_roots=(base.parent,),
            trusted_keys=(trusted_key_file(directory),),
            inference_dtype="float32",
            inference_slots=slots,
            inference_prefix_bytes=0,
        )
        service = await self._stack.enter_async_context(inference(settings, registry, store))
        server = await self._stack.enter_async_context(running_server(settings, [service], {}))
        channel = await self._stack.enter_async_context(open_channel(server.address))
        client: inference_pb2_grpc.InferenceServiceAsyncStub = inference_pb2_grpc.InferenceServiceStub(channel)
        for adapter in adapters:  # each is on the disk and in memory from now on
            await client.LoadModel(pb.LoadModelRequest(model=_adapter(adapter.name)))
        return client

    async def _cold(self, model: str, seed: int) -> Mapping[str, Any]:
        chance = random.Random(seed)
        warm = [await self._first_token(model, chance) for _ in range(WARM_CALLS)]
        await self._client.UnloadModel(pb.UnloadModelRequest(model=model))
        cold = await self._first_token(model, chance)
        return {"cold": cold, "warm": warm}

    async def _first_token(self, model: str, chance: random.Random) -> float:
        started = time.perf_counter()
        async for _ in self._client.StreamGenerate(_request(model, chance, max_tokens=1)):
            return time.perf_counter() - started
        raise RuntimeError("a stream ended without a message")

    async def _loop(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        started = time.perf_counter()
        clients = [self._ask_again(command, f"{command['seed']}/{number}") for number in range(command["clients"])]
        told = await asyncio.gather(*clients)
        seconds = time.perf_counter() - started
        # All clients begin at once; what they meet then is not what they meet later.
        return {
            "seconds": seconds,
            "first": [first for answers in told for first, _ in answers[1:]],
            "tokens": sum(tokens for answers in told for _, tokens in answers),
        }

    async def _ask_again(self, command: Mapping[str, Any], seed: str) -> list[tuple[float, int]]:
        chance = random.Random(seed)
        answers = []
        for _ in range(command["requests"]):
            model = _adapter(chance.choice(command["adapters"]))
            answers.append(await self._answer(_request(model, chance, max_tokens=chance.randint(*ANSWER_TOKENS))))
        return answers

    async def _answer(self, request: pb.GenerateRequest) -> tuple[float, int]:
        started = time.perf_counter()
        first, tokens = 0.0, 0
        async for message in self._client.StreamGenerate(request):
            first = first or time.perf_counter() - started
            tokens = message.usage.completion_tokens
        return first, tokens


def _request(model: str, chance: random.Random, *, max_tokens: int) -> pb.GenerateRequest:
    text = "".join(chance.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(chance.randint(*PROMPT_LETTERS)))
    request = pb.GenerateRequest(model=model, max_tokens=max_tokens, sampling=pb.SamplingParameters(temperature=0.0))
    request.prompt.parts.add(text=text)
    return request


def _adapter(name: str) -> str:
    return f"projects/default/adapters/{name}"


def main() -> None:
    """Serve commands."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("directory", type=Path)
    parser.add_argument("slots", type=int)
    parser.add_argument("adapters", type=Path, nargs="*")
    options = parser.parse_args()
    wire = Wire()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    contestant = Contestant(options.base, options.directory, options.slots, options.adapters)
    wire.serve({READY: contestant.describe, COLD: contestant.cold, LOOP: contestant.loop})


if __name__ == "__main__":
    main()
