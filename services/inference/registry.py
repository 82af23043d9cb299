"""The registry, as this service needs it: an interface, and its implementation over gRPC."""

from functools import lru_cache
from typing import Final, Protocol

from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, FingerprintSummary
from services.common.manifest import AdapterManifest, manifest_digest
from services.common.resource_names import AdapterVersionName
from services.inference.model import AdapterVersion, RegisteredBase
from tenon.registry.v1 import adapter_pb2, adapter_pb2_grpc, base_model_pb2, base_model_pb2_grpc

REMEMBERED_MANIFESTS: Final = 64

_CHECK_SECONDS = 5.0


class Registry(Protocol):
    """What is known of bases and adapters. Every call raises SERVICE_UNAVAILABLE while the registry cannot answer."""

    async def base(self, name: str) -> RegisteredBase:
        """Return a base model.

        Raises:
            DomainError: BASE_MODEL_NOT_FOUND.
        """

    async def base_with_fingerprint(self, fingerprint_id: str) -> RegisteredBase | None:
        """Return a base model with this fingerprint, whatever its name."""

    async def fingerprint(self, name: str) -> BaseFingerprint:
        """Return the whole fingerprint of a base model.

        Raises:
            DomainError: BASE_MODEL_NOT_FOUND.
        """

    async def resolve(self, name: str) -> AdapterVersion:
        """Return the READY version behind an adapter, an alias or a version.

        Raises:
            DomainError: ADAPTER_NOT_FOUND, ALIAS_NOT_FOUND, ADAPTER_VERSION_NOT_FOUND, ADAPTER_VERSION_NOT_READY,
                ADAPTER_VERSION_REVOKED; ARTIFACT_CORRUPT where the manifest does not have the digest that names it;
                MANIFEST_INVALID.
        """


class GrpcRegistry:
    """Implements ``Registry``."""

    def __init__(self, channel: aio.Channel) -> None:
        """Use a channel from ``services.common.rpc.channel.open_channel``."""
        # The constructors of the typed stubs answer with the synchronous kind; on such a channel they are asynchronous.
        self._bases: base_model_pb2_grpc.BaseModelServiceAsyncStub = base_model_pb2_grpc.BaseModelServiceStub(channel)
        self._adapters: adapter_pb2_grpc.AdapterServiceAsyncStub = adapter_pb2_grpc.AdapterServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)
        # An adapter that is in use is resolved for every request, and its bytes never change behind its name.
        self._parse = lru_cache(REMEMBERED_MANIFESTS)(AdapterManifest.from_bytes)

    async def base(self, name: str) -> RegisteredBase:
        """See ``Registry``."""
        response = await self._bases.GetBaseModel(base_model_pb2.GetBaseModelRequest(name=name))
        return _registered(response.base_model)

    async def base_with_fingerprint(self, fingerprint_id: str) -> RegisteredBase | None:
        """See ``Registry``."""
        request = base_model_pb2.ListBaseModelsRequest(page_size=1, fingerprint_id=fingerprint_id)
        response = await self._bases.ListBaseModels(request)
        return _registered(response.base_models[0]) if response.base_models else None

    async def fingerprint(self, name: str) -> BaseFingerprint:
        """See ``Registry``."""
        full = base_model_pb2.GetBaseModelRequest(name=name, view=base_model_pb2.BASE_MODEL_VIEW_FULL)
        response = await self._bases.GetBaseModel(full)
        return BaseFingerprint.from_document(response.base_model.fingerprint.document)

    async def resolve(self, name: str) -> AdapterVersion:
        """See ``Registry``."""
        response = await self._adapters.ResolveAdapter(adapter_pb2.ResolveAdapterRequest(name=name))
        message = response.adapter_version
        version = _checked_name(message)
        return AdapterVersion(version, self._parse(message.manifest), message.manifest, message.envelope)

    async def check(self) -> None:
        """Prove that the registry can answer (readiness).

        Raises:
            DomainError: SERVICE_UNAVAILABLE.
        """
        response = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=_CHECK_SECONDS)
        if response.status != health_pb2.HealthCheckResponse.SERVING:
            raise DomainError(Reason.SERVICE_UNAVAILABLE, "The registry is not ready yet.", retry_after=1.0)


def _registered(message: base_model_pb2.BaseModel) -> RegisteredBase:
    return RegisteredBase(message.name, _summary(message.fingerprint), tuple(message.sources))


def _summary(message: base_model_pb2.Fingerprint) -> FingerprintSummary:
    return FingerprintSummary(
        scheme=message.scheme,
        id=message.id,
        architecture=message.architecture,
        model_type=message.model_type,
        code_digest=message.code_digest or None,
        config_digest=message.config_digest,
        structure_root=message.structure_root,
        weights_root=message.weights_root,
        component_roots=dict(message.component_roots),
        tokenizer_digest=message.tokenizer_digest or None,
        chat_template_digest=message.chat_template_digest or None,
        processor_digest=message.processor_digest or None,
        quantization=None,
        derived_from=message.derived_from or None,
        parameter_count=message.parameter_count,
    )


def _checked_name(message: adapter_pb2.AdapterVersion) -> AdapterVersionName:
    """The name of a version, which its manifest's digest must be."""
    name = AdapterVersionName.parse(message.name)
    found = manifest_digest(message.manifest)
    if found != name.version:
        raise DomainError(
            Reason.ARTIFACT_CORRUPT,
            f"The registry's manifest of {name} has the digest {found}. Restore the registry's database.",
            {"name": str(name), "actual": found},
        )
    return name
