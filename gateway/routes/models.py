"""``/v1/models``: what can answer; and what is in memory."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query
from grpc import StatusCode

from gateway.auth import current_project
from gateway.described import describe, describe_all
from gateway.mapping.generation import expected_base
from gateway.mapping.models import adapter_as_model, base_as_model, loaded_model, version_as_model
from gateway.names import ModelName, parent, resolve_model
from gateway.routes.common import RequestId, every_item
from gateway.routes.parameters import ModelId
from gateway.schemas.common import Listing, Page
from gateway.schemas.models import LoadedModel, LoadModel, Model, ModelDeleted, ModelList, UnloadedModel
from gateway.services import Services, ServicesOf
from services.common.errors import DomainError, Reason
from services.common.resource_names import AdapterName, AdapterVersionName, AliasName, BaseModelName
from tenon.inference.v1 import inference_pb2
from tenon.registry.v1 import adapter_pb2, base_model_pb2

router = APIRouter(tags=["Models"])


@router.get("/v1/models")
async def list_models(services: ServicesOf) -> ModelList:
    """List every base and every adapter."""
    bases, adapters = await asyncio.gather(_bases(services), _adapters(services))
    return ModelList(data=[*bases, *adapters])


@router.get("/v1/models/{model:path}")
async def get_model(model: ModelId, services: ServicesOf) -> Model:
    """Describe what a ``model`` of a request would be."""
    name = await resolve_model(services, model)
    match name:
        case BaseModelName():
            request = base_model_pb2.GetBaseModelRequest(name=str(name))
            return base_as_model((await services.base_models.GetBaseModel(request)).base_model, model)
        case AdapterName():
            found = await services.adapters.GetAdapter(adapter_pb2.GetAdapterRequest(name=str(name)))
            return adapter_as_model(await describe(services, found.adapter), found.adapter)
        case _:
            resolved = await services.adapters.ResolveAdapter(adapter_pb2.ResolveAdapterRequest(name=str(name)))
            return version_as_model(resolved.adapter_version, model)


@router.delete("/v1/models/{model:path}")
async def delete_model(model: ModelId, services: ServicesOf, request_id: RequestId = "") -> ModelDeleted:
    """Delete what ``model`` names: an adapter with its versions and aliases, a version, an alias, or a base that nothing needs."""
    try:
        await _delete(services, await resolve_model(services, model), request_id)
    except DomainError as error:
        # An id alone says no more what it was once that is gone; who sends the request again gets the first answer.
        if error.reason is not Reason.MODEL_NOT_FOUND or not request_id:
            raise
        if not await _deleted_before(services, model, request_id):
            raise error from None
    return ModelDeleted(id=model)


async def _delete(services: Services, name: ModelName, request_id: str) -> None:
    names = {"name": str(name), "request_id": request_id}
    match name:
        case BaseModelName():
            await services.base_models.DeleteBaseModel(base_model_pb2.DeleteBaseModelRequest(**names))
        case AdapterName():
            await services.adapters.DeleteAdapter(adapter_pb2.DeleteAdapterRequest(**names, force=True))
        case AdapterVersionName():
            await services.adapters.DeleteAdapterVersion(adapter_pb2.DeleteAdapterVersionRequest(**names))
        case AliasName():
            await services.adapters.DeleteAlias(adapter_pb2.DeleteAliasRequest(**names))


async def _deleted_before(services: Services, model: str, request_id: str) -> bool:
    """Whether this request has deleted the adapter or the base of an id already."""
    for name in (AdapterName(current_project(), model), BaseModelName(model)):
        try:
            await _delete(services, name, request_id)
        except DomainError as error:
            if error.code not in {StatusCode.NOT_FOUND, StatusCode.PERMISSION_DENIED}:
                raise
        else:
            return True
    return False


@router.post("/v1/models/{model:path}/load")
async def load_model(model: ModelId, services: ServicesOf, body: LoadModel | None = None) -> LoadedModel:
    """Load a model ahead of its first request, or say why it cannot be."""
    request = inference_pb2.LoadModelRequest(
        model=str(await resolve_model(services, model)), base_model=expected_base(body.base_model if body else None)
    )
    answer = await services.inference.LoadModel(request, timeout=services.settings.generate_seconds)
    return loaded_model(answer.model)


@router.post("/v1/models/{model:path}/unload")
async def unload_model(model: ModelId, services: ServicesOf) -> UnloadedModel:
    """Give a model's memory back once the requests that use it have ended; the next one loads it again."""
    name = str(await resolve_model(services, model))
    answer = await services.inference.UnloadModel(
        inference_pb2.UnloadModelRequest(model=name), timeout=services.settings.generate_seconds
    )
    return UnloadedModel(model=model, unloaded=answer.unloaded)


@router.get("/v1/loaded_models")
async def list_loaded_models(query: Annotated[Page, Query()], services: ServicesOf) -> Listing[LoadedModel]:
    """List what is in memory: bases, each followed by its adapters."""
    request = inference_pb2.ListLoadedModelsRequest(page_size=query.page_size, page_token=query.page_token)
    page = await services.inference.ListLoadedModels(request)
    return Listing(data=list(map(loaded_model, page.models)), next_page_token=page.next_page_token)


async def _bases(services: Services) -> list[Model]:
    async def fetch(size: int, token: str) -> tuple[list[base_model_pb2.BaseModel], str]:
        request = base_model_pb2.ListBaseModelsRequest(page_size=size, page_token=token)
        page = await services.base_models.ListBaseModels(request)
        return list(page.base_models), page.next_page_token

    return [base_as_model(base) for base in await every_item(fetch)]


async def _adapters(services: Services) -> list[Model]:
    async def fetch(size: int, token: str) -> tuple[list[adapter_pb2.Adapter], str]:
        request = adapter_pb2.ListAdaptersRequest(parent=parent(), page_size=size, page_token=token)
        page = await services.adapters.ListAdapters(request)
        return list(page.adapters), page.next_page_token

    adapters = await every_item(fetch)
    described = await describe_all(services, adapters)
    return [adapter_as_model(adapter, message) for adapter, message in zip(described, adapters, strict=True)]
