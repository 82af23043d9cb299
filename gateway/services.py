"""The services behind the gateway, as typed stubs over one channel each."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import Depends, Request
from grpc import aio

from gateway.settings import GatewaySettings
from services.common.auth.connect import own_credentials
from services.common.auth.credentials import PassedOn
from services.common.auth.introspection import Introspect, RememberedIntrospection, by_rpc
from services.common.rpc.channel import open_channel
from services.common.rpc.tls import client_tls
from tenon.iam.v1 import iam_pb2_grpc
from tenon.inference.v1 import inference_pb2_grpc
from tenon.registry.v1 import adapter_pb2_grpc, base_model_pb2_grpc
from tenon.trainer.v1 import adapter_transfer_pb2_grpc, dataset_pb2_grpc, storage_pb2_grpc, training_job_pb2_grpc


@dataclass(frozen=True, slots=True)
class Services:
    """What routes call. Every call raises DomainError.

    Attributes:
        base_models: the registry's base models.
        adapters: the registry's adapters, versions and aliases.
        datasets: the trainer's data sets.
        jobs: the trainer's jobs.
        storage: the trainer's care for the artifact store.
        transfers: the trainer's way in and out for adapters.
        inference: answers.
        iam: projects, keys and the audit log.
        introspect: tells who presents a key; None in a suite without keys.
        channels: the channels beneath, by the service's name.
        settings: deadlines and limits.
    """

    # These classes exist in the stubs' .pyi only.
    base_models: "base_model_pb2_grpc.BaseModelServiceAsyncStub"
    adapters: "adapter_pb2_grpc.AdapterServiceAsyncStub"
    datasets: "dataset_pb2_grpc.DatasetServiceAsyncStub"
    jobs: "training_job_pb2_grpc.TrainingJobServiceAsyncStub"
    storage: "storage_pb2_grpc.StorageServiceAsyncStub"
    transfers: "adapter_transfer_pb2_grpc.AdapterTransferServiceAsyncStub"
    inference: "inference_pb2_grpc.InferenceServiceAsyncStub"
    iam: "iam_pb2_grpc.IamServiceAsyncStub"
    introspect: Introspect | None
    channels: Mapping[str, aio.Channel]
    settings: GatewaySettings


@asynccontextmanager
async def open_services(settings: GatewaySettings) -> AsyncIterator[Services]:
    """Open the channels; services need not be up, and may go and come back."""
    limit, token = settings.grpc_max_message_bytes, settings.service_token
    callers = None if token is None else PassedOn(token)
    open_to = partial(open_channel, max_message_bytes=limit, tls=client_tls(settings))
    async with (
        open_to(settings.registry_target, credentials=callers) as registry,
        open_to(settings.trainer_target, credentials=callers) as trainer,
        open_to(settings.inference_target, credentials=callers) as inference,
        open_to(settings.registry_target, credentials=own_credentials(settings, "gateway")) as own,
    ):
        introspection = iam_pb2_grpc.IntrospectionServiceStub(own)
        yield Services(
            base_models=base_model_pb2_grpc.BaseModelServiceStub(registry),
            adapters=adapter_pb2_grpc.AdapterServiceStub(registry),
            datasets=dataset_pb2_grpc.DatasetServiceStub(trainer),
            jobs=training_job_pb2_grpc.TrainingJobServiceStub(trainer),
            storage=storage_pb2_grpc.StorageServiceStub(trainer),
            transfers=adapter_transfer_pb2_grpc.AdapterTransferServiceStub(trainer),
            inference=inference_pb2_grpc.InferenceServiceStub(inference),
            channels={"registry": registry, "trainer": trainer, "inference": inference},
            iam=iam_pb2_grpc.IamServiceStub(registry),
            introspect=None if token is None else RememberedIntrospection(by_rpc(introspection)),
            settings=settings,
        )


# Async, though it waits for nothing: FastAPI gives any other a thread of its own, at every request.
async def _of_request(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesOf = Annotated[Services, Depends(_of_request)]
"""Gives a route the services."""
