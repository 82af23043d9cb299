"""Registry, artifact store and inference service in this process, where a pair is published as it is: nobody checks it
but the service it is brought to.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
import torch

from services.common.artifacts.filesystem import FileSystemStore
from services.common.errors import DomainError
from services.common.identity import BaseFingerprint, OpenBase, fingerprint_base
from services.common.manifest import ManifestFile, Provenance
from services.common.resource_names import AdapterName, AdapterVersionName, BaseModelName
from services.common.rpc.interceptors import Context
from services.common.rpc.server import Service, running_server
from services.common.settings import ServerSettings
from services.common.signing import TrustedKeys
from services.inference.engine.loader import AutoEngineLoader
from services.inference.engine.protocol import Engine, EngineObserver
from services.registry.__main__ import services
from services.registry.adapter_servicer import AdapterServicer
from services.registry.memory import MemoryRegistryStore
from services.registry.model import NewBaseModel, NewVersion
from tenon.registry.v1 import adapter_pb2 as pb
from tests.e2e.inference.service import Suite, running_inference
from tests.matrix.keys import withdraw, write_trust
from tests.matrix.pair import ENVELOPE, MANIFEST, WEIGHTS, Pair

ZEROS: Final = "0" * 64


class Engines:
    """Every engine that a service makes."""

    def __init__(self) -> None:
        self.made: list[Engine] = []

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made = self.made

        class Watched(AutoEngineLoader):
            async def load(self, opened: OpenBase, fingerprint: BaseFingerprint, observer: EngineObserver) -> Engine:
                engine = await super().load(opened, fingerprint, observer)
                made.append(engine)
                return engine

        monkeypatch.setattr("services.inference.__main__.AutoEngineLoader", Watched)


class BlindStore(FileSystemStore):
    """A store that shows other bytes where only a range is asked for."""

    heads: dict[tuple[str, str], bytes]

    def read(self, project: str, digest: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        shown = self.heads.get((project, digest))
        if shown is not None and length is not None:
            return iter([shown[offset : offset + length]])
        return super().read(project, digest, offset=offset, length=length)


class BlindRegistry(AdapterServicer):
    """A registry that gives out envelopes as they came."""

    envelopes: dict[str, bytes]

    async def ResolveAdapter(self, request: pb.ResolveAdapterRequest, context: Context) -> pb.ResolveAdapterResponse:
        response = await super().ResolveAdapter(request, context)
        response.adapter_version.envelope = self.envelopes[response.adapter_version.name]
        return response


class Platform:
    """Where pairs are published and asked."""

    def __init__(
        self,
        trust: Path,
        engines: Engines,
        records: MemoryRegistryStore,
        registry: BlindRegistry,
        store: BlindStore,
        start: Callable[..., Awaitable[Suite]],
    ) -> None:
        """Use ``platform`` instead."""
        self._trust = trust
        self._engines = engines
        self._records = records
        self._registry = registry
        self._store = store
        self._start = start
        self._suites: dict[tuple[Provenance, bool], Suite] = {}

    async def suite(self, pair: Pair) -> Suite:
        """The inference service with the settings that a pair asks for."""
        key = (pair.around.admit, pair.around.derivatives)
        if key not in self._suites:
            self._suites[key] = await self._start(
                inference_admit=key[0], inference_allow_derivatives=key[1], inference_dtype="float32"
            )
        return self._suites[key]

    async def add_base(
        self,
        name: str,
        directory: Path,
        fingerprint: BaseFingerprint | None = None,
        *,
        derived_from: str | None = None,
    ) -> str:
        """Register a base, unless it is; with a fingerprint that its files need not have.

        ``derived_from`` is declared of a base that is not the one of that id itself.
        """
        found = fingerprint or fingerprint_base(directory, threads=1)
        if derived_from != found.id:
            found = found.derived(derived_from)
        new = NewBaseModel(BaseModelName.parse(name), "", found, found.to_document(), (directory.as_uri(),))
        async with self._records.transaction() as transaction:
            await transaction.insert_base_model(new)
        return name

    async def publish(self, pair: Pair, project: str) -> str:
        """Put a pair's files into the store and its manifest into the registry, whatever they are; answer the name."""
        await self.add_base(pair.base_model, pair.original, pair.trained_on)
        manifest = (pair.adapter / MANIFEST).read_bytes()
        envelope = pair.adapter / ENVELOPE
        version = ZEROS if pair.around.misnamed else hashlib.sha256(manifest).hexdigest()
        name = AdapterVersionName(project, "adapter", version)
        self._store_files(pair, project, manifest)
        self._registry.envelopes[str(name)] = envelope.read_bytes() if envelope.exists() else b""
        async with self._records.transaction() as transaction:
            await transaction.insert_adapter(AdapterName(project, "adapter"), "", "")
            await transaction.insert_version(_recorded(name, manifest, pair))
            if pair.around.ready:
                await transaction.make_ready(name)
        return str(name)

    async def logits(self, prompt: Sequence[int], version: str) -> torch.Tensor | None:
        """Next-token logits of an adapter, of whichever engine has it attached; None where none has."""
        for engine in self._engines.made:
            with suppress(DomainError):
                return await engine.next_token_logits(prompt, version.rpartition("/")[2])
        return None

    async def revoke(self, version: str) -> None:
        async with self._records.transaction() as transaction:
            await transaction.revoke(AdapterVersionName.parse(version), "it told lies")

    async def withdraw(self, _: str) -> None:
        withdraw(self._trust)

    def _store_files(self, pair: Pair, project: str, manifest: bytes) -> None:
        """Each file under the digest that the manifest gives it, whether it has it or not."""
        for path, digest in _listed(manifest).items():
            place = self._store._place(project, digest)
            place.parent.mkdir(parents=True, exist_ok=True)
            file = pair.adapter / path
            if path == WEIGHTS and pair.around.exchanged:
                file = pair.samples.adapter(pair.architecture, pair.original, seed=5) / WEIGHTS
            if path != pair.around.lost and file.is_file():
                place.write_bytes(file.read_bytes())
            if path == WEIGHTS and pair.around.head is not None:
                self._store.heads[project, digest] = pair.around.head


def _listed(manifest: bytes) -> Mapping[str, str]:
    """Path → digest, as far as they are plain names."""
    try:
        files = json.loads(manifest)["files"]
    except (ValueError, KeyError):
        return {}
    return {file["path"]: file["sha256"] for file in files if "/" not in file["path"]}


def _recorded(name: AdapterVersionName, manifest: bytes, pair: Pair) -> NewVersion:
    return NewVersion(
        name=name,
        manifest=manifest,
        base_model=BaseModelName.parse(pair.base_model),
        trained_on=pair.trained_on,
        training_job="",
        files=(ManifestFile("adapter_config.json", 0, ZEROS),),
        provenance=Provenance.DECLARED,
        signatures={},
    )


@asynccontextmanager
async def platform(root: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Platform]:
    """Run all of it; bases lie below ``root``."""
    store = BlindStore.open(root / "artifacts")
    store.heads = {}
    write_trust(root / "trust")
    records = MemoryRegistryStore()
    base_models, adapters = services(records, store, TrustedKeys([]))
    registry = BlindRegistry(records, store, TrustedKeys([]))
    registry.envelopes = {}
    settings = ServerSettings(listen="127.0.0.1:0", drain_seconds=0.1)
    engines = Engines()
    engines.watch(monkeypatch)
    caches = (root / f"cache-{number}" for number in count())
    async with AsyncExitStack() as stack:
        parts = [base_models, Service(adapters.add, registry, adapters.name)]
        server = await stack.enter_async_context(running_server(settings, parts, {}))

        async def start(**chosen: Any) -> Suite:
            service = running_inference(
                server.address,
                root / "artifacts",
                next(caches),
                root,
                store=store,
                trusted_keys=(root / "trust",),
                **chosen,
            )
            return await stack.enter_async_context(service)

        yield Platform(root / "trust", engines, records, registry, store, start)
