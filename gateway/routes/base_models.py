"""``/v1/base_models``."""

from typing import Annotated

from fastapi import APIRouter, Query

from gateway.mapping.base_models import base_model_object, create_request
from gateway.names import base_model_name
from gateway.routes.common import RequestId
from gateway.schemas.base_models import BaseModelObject, BaseModelPage, CreateBaseModel, View
from gateway.schemas.common import Deleted, Listing
from gateway.services import ServicesOf
from tenon.registry.v1 import base_model_pb2

router = APIRouter(tags=["Base models"])


@router.post("/v1/base_models")
async def create_base_model(body: CreateBaseModel, services: ServicesOf, request_id: RequestId = "") -> BaseModelObject:
    """Register a base by its fingerprint; the same fingerprint again adds its sources."""
    answer = await services.base_models.CreateBaseModel(create_request(body, request_id))
    return base_model_object(answer.base_model)


@router.get("/v1/base_models")
async def list_base_models(query: Annotated[BaseModelPage, Query()], services: ServicesOf) -> Listing[BaseModelObject]:
    """List bases by id."""
    request = base_model_pb2.ListBaseModelsRequest(
        page_size=query.page_size, page_token=query.page_token, fingerprint_id=query.fingerprint_id
    )
    page = await services.base_models.ListBaseModels(request)
    return Listing(data=[base_model_object(base) for base in page.base_models], next_page_token=page.next_page_token)


@router.get("/v1/base_models/{base_model_id}")
async def get_base_model(base_model_id: str, query: Annotated[View, Query()], services: ServicesOf) -> BaseModelObject:
    """Describe a base; ``view=full`` adds its whole fingerprint document."""
    full = query.view == "full"
    view = base_model_pb2.BASE_MODEL_VIEW_FULL if full else base_model_pb2.BASE_MODEL_VIEW_BASIC
    name = str(base_model_name(base_model_id, "base_model_id"))
    answer = await services.base_models.GetBaseModel(base_model_pb2.GetBaseModelRequest(name=name, view=view))
    return base_model_object(answer.base_model)


@router.delete("/v1/base_models/{base_model_id}")
async def delete_base_model(base_model_id: str, services: ServicesOf, request_id: RequestId = "") -> Deleted:
    """Delete a base that no adapter version and no job needs; its files stay where they are."""
    name = str(base_model_name(base_model_id, "base_model_id"))
    request = base_model_pb2.DeleteBaseModelRequest(name=name, request_id=request_id)
    await services.base_models.DeleteBaseModel(request)
    return Deleted(id=base_model_id, object="base_model")
