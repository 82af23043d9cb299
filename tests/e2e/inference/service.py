"""The inference service between a real registry and a real store, with what every test of it needs to say in a line."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import pytest
from grpc import aio

from services.common.artifacts.filesystem import FileSystemStore
from services.common.artifacts.store import ArtifactStore
from services.common.errors import DomainError
from services.common.identity import BaseFingerprint, fingerprint_base
from services.common.rpc.channel import open_channel
from services.common.rpc.server import running_server
from services.inference.__main__ import inference
from services.inference.registry import GrpcRegistry
from services.inference.settings import InferenceSettings
from tenon.inference.v1 import inference_pb2 as pb
from tenon.inference.v1.inference_pb2_grpc import InferenceServiceStub
from tenon.registry.v1 import adapter_pb2, base_model_pb2
from tenon.registry.v1.adapter_pb2_grpc import AdapterServiceStub
from tenon.registry.v1.base_model_pb2_grpc import BaseModelServiceStub
from tests.contract.inference.samples import manifest_of, store_files
from tests.support.keys import signed, trusted_key_file


class CountingStore(FileSystemStore):
    """A store that remembers what was read from it, in calls and in bytes."""

    touched: Counter[str]
    bytes_read: int

    @classmethod
    def open(cls, root: Path, *, stale_after: float = 3600.0) -> Self:
        store = super().open(root, stale_after=stale_after)
        store.touched = Counter()
        store.bytes_read = 0
        return store

    def read(self, project: str, digest: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        self.touched[digest] += 1
        return self._counted(super().read(project, digest, offset=offset, length=length))

    def fetch(self, project: str, digest: str, destination: Path) -> None:
        self.touched[f"fetch {digest}"] += 1
        super().fetch(project, digest, destination)

    def _counted(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.bytes_read += len(chunk)
            yield chunk


class Suite:
    """Registry, store and inference service of one test module."""

    def __init__(self, registry: aio.Channel, address: str, channel: aio.Channel, store: Any) -> None:
        self.address = address
        self.base_models = BaseModelServiceStub(registry)
        self.adapters = AdapterServiceStub(registry)
        self.inference = InferenceServiceStub(channel)
        self.store = store

    async def add_base(
        self, directory: Path, *sources: str, derived_from: str | None = None
    ) -> tuple[str, BaseFingerprint]:
        """Register a base under a new name."""
        fingerprint = fingerprint_base(directory, derived_from=derived_from)
        message = base_model_pb2.Fingerprint(
            scheme=fingerprint.scheme, id=fingerprint.id, document=fingerprint.to_document()
        )
        base = base_model_pb2.BaseModel(fingerprint=message, sources=sources or (directory.as_uri(),))
        request = base_model_pb2.CreateBaseModelRequest(base_model_id=f"tiny-{uuid4().hex[:8]}", base_model=base)
        response = await self.base_models.CreateBaseModel(request)
        return response.base_model.name, fingerprint

    async def publish(
        self, directory: Path, base: tuple[str, BaseFingerprint], *, adapter: str = "", **changes: Any
    ) -> str:
        """Store an adapter's files and register them as a version, as the trainer does; return the adapter's name."""
        adapter_id = adapter or f"a-{uuid4().hex[:8]}"
        name = f"projects/default/adapters/{adapter_id}"
        store_files(self.store, directory)
        manifest = manifest_of(directory, *base, **changes)
        if not adapter:
            create = adapter_pb2.CreateAdapterRequest(parent="projects/default", adapter_id=adapter_id)
            await self.adapters.CreateAdapter(create)
        version = adapter_pb2.CreateAdapterVersionRequest(
            parent=name, manifest=manifest.to_bytes(), envelope=signed(manifest)
        )
        created = await self.adapters.CreateAdapterVersion(version)
        await self.adapters.FinalizeAdapterVersion(
            adapter_pb2.FinalizeAdapterVersionRequest(name=created.adapter_version.name)
        )
        alias = adapter_pb2.Alias(name=f"{name}/aliases/latest", version=created.adapter_version.name)
        await self.adapters.UpdateAlias(adapter_pb2.UpdateAliasRequest(alias=alias, allow_missing=True))
        return name

    async def ask(self, model: str, text: str = "hello", **fields: Any) -> pb.GenerateResponse:
        """Generate, greedily if nothing else is said."""
        response: pb.GenerateResponse = await self.inference.Generate(prompt(model, text, **fields), timeout=60)
        return response

    async def stream(self, model: str, text: str = "hello", **fields: Any) -> list[pb.StreamGenerateResponse]:
        call = self.inference.StreamGenerate(prompt(model, text, **fields), timeout=60)
        return [response async for response in call]

    async def refusal(self, model: str, text: str = "hello", **fields: Any) -> DomainError:
        """The error of a request, the same for unary and streamed ones."""
        with pytest.raises(DomainError) as unary:
            await self.ask(model, text, **fields)
        with pytest.raises(DomainError) as streamed:
            await self.stream(model, text, **fields)
        assert (unary.value.reason, unary.value.metadata) == (streamed.value.reason, streamed.value.metadata)
        return unary.value

    async def busy(self, model: str) -> None:
        """Wait until the base is busy with a request of somebody else, told by how long a short one takes."""
        while True:
            with suppress(DomainError):
                await self.inference.Generate(prompt(model, max_tokens=1), timeout=0.3)
                continue
            return

    async def loaded(self) -> list[str]:
        """Names of what is in memory."""
        response = await self.inference.ListLoadedModels(pb.ListLoadedModelsRequest())
        return [model.identity.adapter_version or model.identity.base_model for model in response.models]


def prompt(model: str, text: str = "hello", **fields: Any) -> pb.GenerateRequest:
    request = pb.GenerateRequest(model=model, **{"max_tokens": 12, **fields})
    if not request.HasField("conversation"):
        request.prompt.parts.add(text=text)
    return request


def conversation(*texts: str) -> pb.Conversation:
    messages = [
        pb.ChatMessage(role=("user", "assistant")[index % 2], parts=[pb.ContentPart(text=text)])
        for index, text in enumerate(texts)
    ]
    return pb.Conversation(messages=messages)


@asynccontextmanager
async def running_inference(
    registry_address: str,
    artifacts: Path,
    cache: Path,
    root: Path,
    *,
    store: ArtifactStore | None = None,
    **settings: Any,
) -> AsyncIterator[Suite]:
    """Serve inference in this process, as its composition root puts it together; with a store of its own if given."""
    store = store or CountingStore.open(artifacts)
    cache.mkdir(exist_ok=True)
    chosen = InferenceSettings(
        registry_target=registry_address,
        artifacts_url=artifacts.as_uri(),
        cache_dir=cache,
        base_roots=(root,),
        drain_seconds=0.1,
        **{"trusted_keys": (trusted_key_file(cache),), **settings},
    )
    async with (
        open_channel(registry_address) as registry,
        inference(chosen, GrpcRegistry(registry), store) as service,
        running_server(chosen, [service], {}) as server,
        open_channel(server.address) as channel,
    ):
        yield Suite(registry, server.address, channel, store)


StartInference = Callable[..., Any]
