"""The registry as its clients see it, with what every test of it needs to say in a line."""

from collections.abc import Awaitable
from uuid import uuid4

import pytest
from grpc import aio

from services.common.errors import DomainError
from services.common.identity import BaseFingerprint
from services.common.manifest import AdapterManifest
from services.common.signing import SigningKey
from tenon.registry.v1 import adapter_pb2 as pb
from tenon.registry.v1 import base_model_pb2 as base_pb
from tenon.registry.v1.adapter_pb2_grpc import AdapterServiceStub
from tenon.registry.v1.base_model_pb2_grpc import BaseModelServiceStub
from tests.support.keys import TEST_KEY, signed
from tests.support.registry import fingerprint, manifest


class Registry:
    """Stubs, a project and a base model of one test's own."""

    def __init__(self, channel: aio.Channel) -> None:
        self.adapters = AdapterServiceStub(channel)
        self.base_models = BaseModelServiceStub(channel)
        unique = uuid4().hex[:12]
        self.project = f"projects/p-{unique}"
        self.adapter = f"{self.project}/adapters/wukong"
        self.base_model_id = f"tiny-{unique}"

    async def add_base(
        self, base: BaseFingerprint | None = None, *sources: str, request_id: str = ""
    ) -> base_pb.BaseModel:
        base = base or fingerprint()
        request = base_pb.CreateBaseModelRequest(
            base_model_id=self.base_model_id,
            base_model=base_pb.BaseModel(
                display_name="Tiny",
                fingerprint=base_pb.Fingerprint(scheme=base.scheme, id=base.id, document=base.to_document()),
                sources=sources or ("file:///models/tiny",),
            ),
            request_id=request_id,
        )
        return (await self.base_models.CreateBaseModel(request)).base_model

    async def add_adapter(self, *, request_id: str = "", display_name: str = "Sun Wukong") -> pb.Adapter:
        request = pb.CreateAdapterRequest(
            parent=self.project,
            adapter_id="wukong",
            adapter=pb.Adapter(display_name=display_name),
            request_id=request_id,
        )
        return (await self.adapters.CreateAdapter(request)).adapter

    def manifest(self, **facts: object) -> AdapterManifest:
        return manifest(base_model=f"baseModels/{self.base_model_id}", **facts)  # type: ignore[arg-type]  # as manifest() has them

    async def add_version(
        self, sample: AdapterManifest | None = None, *, key: SigningKey = TEST_KEY, request_id: str = ""
    ) -> pb.AdapterVersion:
        sample = sample or self.manifest()
        request = pb.CreateAdapterVersionRequest(
            parent=self.adapter, manifest=sample.to_bytes(), envelope=signed(sample, key), request_id=request_id
        )
        return (await self.adapters.CreateAdapterVersion(request)).adapter_version

    async def finalize(self, name: str, *, request_id: str = "") -> pb.AdapterVersion:
        request = pb.FinalizeAdapterVersionRequest(name=name, request_id=request_id)
        return (await self.adapters.FinalizeAdapterVersion(request)).adapter_version

    async def revoke(self, name: str, reason: str = "it swears", *, request_id: str = "") -> pb.AdapterVersion:
        request = pb.RevokeAdapterVersionRequest(name=name, reason=reason, request_id=request_id)
        return (await self.adapters.RevokeAdapterVersion(request)).adapter_version

    async def move(
        self, alias: str, version: str, *, etag: str = "", create: bool = True, request_id: str = ""
    ) -> pb.Alias:
        request = pb.UpdateAliasRequest(
            alias=pb.Alias(name=f"{self.adapter}/aliases/{alias}", version=version, etag=etag),
            allow_missing=create,
            request_id=request_id,
        )
        return (await self.adapters.UpdateAlias(request)).alias

    async def resolve(self, name: str) -> pb.AdapterVersion:
        return (await self.adapters.ResolveAdapter(pb.ResolveAdapterRequest(name=name))).adapter_version


async def failure(call: Awaitable[object]) -> DomainError:
    """Return the error that a call ends with, as it came over the wire."""
    with pytest.raises(DomainError) as caught:
        await call
    return caught.value
