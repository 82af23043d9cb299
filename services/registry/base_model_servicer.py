"""tenon.registry.v1.BaseModelService."""

# ruff: noqa: N802 - gRPC calls methods by the names of the contract.

from services.common.resource_names import DEFAULT_PROJECT, BaseModelName
from services.common.rpc.interceptors import Context
from services.registry import base_models, convert
from services.registry.dependants import TrainerDependants
from services.registry.mutation import mutate
from services.registry.store import RegistryStore, RegistryTransaction
from tenon.registry.v1 import base_model_pb2 as pb
from tenon.registry.v1 import base_model_pb2_grpc


class BaseModelServicer(base_model_pb2_grpc.BaseModelServiceServicer):
    """Registers base models by fingerprint; status codes as in base_model.proto."""

    def __init__(self, store: RegistryStore, trainer: TrainerDependants) -> None:
        """Keep base models in a store; the trainer knows of jobs on them."""
        self._store = store
        self._trainer = trainer

    async def CreateBaseModel(self, request: pb.CreateBaseModelRequest, _: Context) -> pb.CreateBaseModelResponse:
        """See base_model.proto."""
        sent = request.base_model
        new = await base_models.check_new(
            request.base_model_id, sent.display_name, sent.fingerprint.document, sent.sources
        )
        convert.check_stated(sent.fingerprint, new.fingerprint)

        async def create(transaction: RegistryTransaction) -> pb.CreateBaseModelResponse:
            return pb.CreateBaseModelResponse(base_model=convert.base_model(await base_models.create(transaction, new)))

        return await mutate(self._store, DEFAULT_PROJECT, request, pb.CreateBaseModelResponse, create)

    async def GetBaseModel(self, request: pb.GetBaseModelRequest, _: Context) -> pb.GetBaseModelResponse:
        """See base_model.proto."""
        name = BaseModelName.parse(request.name)
        full = request.view == pb.BASE_MODEL_VIEW_FULL
        async with self._store.transaction() as transaction:
            found = await base_models.get(transaction, name, document=full)
        return pb.GetBaseModelResponse(base_model=convert.base_model(found))

    async def ListBaseModels(self, request: pb.ListBaseModelsRequest, _: Context) -> pb.ListBaseModelsResponse:
        """See base_model.proto."""
        async with self._store.transaction() as transaction:
            page = await base_models.list_page(transaction, convert.page_request(request), request.fingerprint_id)
        return pb.ListBaseModelsResponse(
            base_models=map(convert.base_model, page.items), next_page_token=page.next_token
        )

    async def DeleteBaseModel(self, request: pb.DeleteBaseModelRequest, _: Context) -> pb.DeleteBaseModelResponse:
        """See base_model.proto."""
        name = BaseModelName.parse(request.name)

        async def delete(transaction: RegistryTransaction) -> pb.DeleteBaseModelResponse:
            await base_models.delete(transaction, name, expected=request.etag, trainer=self._trainer)
            return pb.DeleteBaseModelResponse()

        return await mutate(self._store, DEFAULT_PROJECT, request, pb.DeleteBaseModelResponse, delete)
