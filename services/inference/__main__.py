"""``python -m services.inference``: settings, telemetry, registry, stores, engine, server."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import torch
from opentelemetry import metrics
from transformers.utils import logging as transformers_logging

from services.common.artifacts.connect import connect_store
from services.common.artifacts.store import ArtifactStore
from services.common.auth.connect import own_credentials, remote_guard
from services.common.errors import DomainError
from services.common.identity import BaseFingerprint
from services.common.rpc.channel import open_channel
from services.common.rpc.server import Service, serve
from services.common.rpc.tls import client_tls
from services.common.signing import TrustStore
from services.common.telemetry import telemetry
from services.inference.adapter_files import AdapterFiles
from services.inference.adapters import AdapterPool
from services.inference.admission import Admission
from services.inference.bases import BaseFiles, BasePool
from services.inference.blocking import Blocking
from services.inference.engine.loader import AutoEngineLoader, EngineOptions
from services.inference.engine.protocol import Engine
from services.inference.generate import Generator
from services.inference.metrics import InferenceMetrics
from services.inference.model import RegisteredBase
from services.inference.policy import AdmissionPolicy
from services.inference.registry import GrpcRegistry, Registry
from services.inference.resolve import Resolver
from services.inference.servicer import InferenceServicer
from services.inference.settings import InferenceSettings
from services.inference.unload import Unloader
from tenon.inference.v1 import inference_pb2_grpc


@asynccontextmanager
async def inference(settings: InferenceSettings, registry: Registry, store: ArtifactStore) -> AsyncIterator[Service]:
    """Make the service; on leaving, unload everything."""
    measured = InferenceMetrics(metrics.get_meter("tenon.inference"))
    files = AdapterFiles(
        store,
        settings.cache_dir / "adapters",
        measured,
        max_file_bytes=settings.inference_adapter_file_bytes,
        max_total_bytes=settings.inference_adapter_cache_bytes,
    )

    policy = AdmissionPolicy(
        TrustStore.open(settings.trusted_keys),
        admit=settings.inference_admit,
        allow_derivatives=settings.inference_allow_derivatives,
    )
    blocking = Blocking(settings.inference_load_threads)

    def adapters(engine: Engine, base: RegisteredBase, fingerprint: BaseFingerprint) -> AdapterPool:
        admission = Admission(engine, base, fingerprint, files, policy=policy, blocking=blocking)
        return AdapterPool(engine, admission, measured, budget_bytes=settings.inference_adapter_memory_bytes)

    bases = BasePool(
        BaseFiles(
            cache_dir=settings.cache_dir,
            roots=settings.base_roots,
            verify_always=settings.inference_verify_always,
        ),
        AutoEngineLoader(
            EngineOptions(
                dtype=settings.inference_dtype,
                device=settings.inference_device,
                queue_size=settings.inference_queue_size,
                batch_rows=settings.inference_batch_rows,
                slots=settings.inference_slots,
                kv_bytes=settings.inference_kv_bytes,
                prefix_bytes=settings.inference_prefix_bytes,
                kernels_dir=settings.cache_dir / "kernels" if settings.inference_kernels else None,
            )
        ),
        adapters,
        measured,
        blocking=blocking,
        budget_bytes=settings.inference_memory_bytes,
    )
    try:
        yield Service(
            inference_pb2_grpc.add_InferenceServiceServicer_to_server,
            InferenceServicer(Generator(Resolver(registry, policy), bases, measured), Unloader(registry, bases), bases),
            "tenon.inference.v1.InferenceService",
        )
    finally:
        await bases.close()
        blocking.close()


async def run(settings: InferenceSettings) -> None:
    """Serve until SIGINT or SIGTERM."""
    credentials = own_credentials(settings, "inference")
    async with (
        open_channel(settings.registry_target, credentials=credentials, tls=client_tls(settings)) as channel,
        remote_guard(settings, channel) as guard,
    ):
        registry = GrpcRegistry(channel)
        async with inference(settings, registry, connect_store(settings)) as service:
            await serve(settings, [service], {"registry": registry.check}, guard)


def main() -> int:
    """Run the process; a fault of its settings or its surroundings is told in a line."""
    try:
        settings = InferenceSettings.load()
        with telemetry("tenon-inference", settings):
            transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers has no types here
            if settings.inference_threads:
                torch.set_num_threads(settings.inference_threads)
            asyncio.run(run(settings))
    except DomainError as error:
        print(f"tenon-inference: {error.message}", file=sys.stderr)  # noqa: T201 - there may be no log yet
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
