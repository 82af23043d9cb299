"""``/v1/adapters``."""

from typing import Annotated

from fastapi import APIRouter, Query
from google.protobuf.field_mask_pb2 import FieldMask

from gateway.described import describe, describe_all
from gateway.errors import validation_error
from gateway.mapping.adapters import alias_object, version_object
from gateway.names import adapter_name, parent, version_name
from gateway.routes.common import RequestId
from gateway.schemas.adapters import (
    Adapter,
    AdapterVersion,
    Alias,
    DeleteAdapter,
    DeleteAlias,
    MoveAlias,
    RevokeVersion,
)
from gateway.schemas.common import Deleted, Listing, Page
from gateway.services import ServicesOf
from services.common.resource_names import AliasName, check_slug
from tenon.registry.v1 import adapter_pb2

router = APIRouter(tags=["Adapters"])


@router.get("/v1/adapters")
async def list_adapters(query: Annotated[Page, Query()], services: ServicesOf) -> Listing[Adapter]:
    """List adapters by id."""
    request = adapter_pb2.ListAdaptersRequest(parent=parent(), page_size=query.page_size, page_token=query.page_token)
    page = await services.adapters.ListAdapters(request)
    return Listing(data=await describe_all(services, page.adapters), next_page_token=page.next_page_token)


@router.get("/v1/adapters/{adapter_id}")
async def get_adapter(adapter_id: str, services: ServicesOf) -> Adapter:
    """Describe an adapter, with its aliases."""
    request = adapter_pb2.GetAdapterRequest(name=str(adapter_name(adapter_id, "adapter_id")))
    return await describe(services, (await services.adapters.GetAdapter(request)).adapter)


@router.delete("/v1/adapters/{adapter_id}")
async def delete_adapter(
    adapter_id: str, query: Annotated[DeleteAdapter, Query()], services: ServicesOf, request_id: RequestId = ""
) -> Deleted:
    """Delete an adapter; its versions and aliases only with ``force=true``."""
    name = str(adapter_name(adapter_id, "adapter_id"))
    request = adapter_pb2.DeleteAdapterRequest(name=name, etag=query.etag, force=query.force, request_id=request_id)
    await services.adapters.DeleteAdapter(request)
    return Deleted(id=adapter_id, object="adapter")


@router.get("/v1/adapters/{adapter_id}/versions")
async def list_versions(
    adapter_id: str, query: Annotated[Page, Query()], services: ServicesOf
) -> Listing[AdapterVersion]:
    """List an adapter's versions, newest first."""
    request = adapter_pb2.ListAdapterVersionsRequest(
        parent=str(adapter_name(adapter_id, "adapter_id")), page_size=query.page_size, page_token=query.page_token
    )
    page = await services.adapters.ListAdapterVersions(request)
    return Listing(data=list(map(version_object, page.adapter_versions)), next_page_token=page.next_page_token)


@router.post("/v1/adapters/{adapter_id}/versions/{version}/revoke")
async def revoke_version(
    adapter_id: str, version: str, body: RevokeVersion, services: ServicesOf, request_id: RequestId = ""
) -> AdapterVersion:
    """Withdraw a version for good: it is listed, and answers no more, whichever alias points at it."""
    name = version_name(adapter_name(adapter_id, "adapter_id"), version)
    request = adapter_pb2.RevokeAdapterVersionRequest(name=str(name), reason=body.reason, request_id=request_id)
    return version_object((await services.adapters.RevokeAdapterVersion(request)).adapter_version)


@router.delete("/v1/adapters/{adapter_id}/versions/{version}")
async def delete_version(adapter_id: str, version: str, services: ServicesOf, request_id: RequestId = "") -> Deleted:
    """Delete a version to which no alias points; that it was revoked is remembered."""
    name = version_name(adapter_name(adapter_id, "adapter_id"), version)
    request = adapter_pb2.DeleteAdapterVersionRequest(name=str(name), request_id=request_id)
    await services.adapters.DeleteAdapterVersion(request)
    return Deleted(id=version, object="adapter_version")


@router.put("/v1/adapters/{adapter_id}/aliases/{alias_id}")
async def move_alias(
    adapter_id: str, alias_id: str, body: MoveAlias, services: ServicesOf, request_id: RequestId = ""
) -> Alias:
    """Point an alias at a version, set its gate, or both; without an etag, it is created where there is none."""
    adapter = adapter_name(adapter_id, "adapter_id")
    alias = adapter_pb2.Alias(
        name=str(AliasName(adapter.project, adapter.adapter, check_slug(alias_id, "alias_id"))),
        version="" if body.version is None else str(version_name(adapter, body.version)),
        etag=body.etag,
        gated=bool(body.gated),
    )
    paths = [field for field in ("version", "gated") if getattr(body, field) is not None]
    if not paths:
        raise validation_error([{"loc": ("body", "version"), "type": "missing", "msg": "is required"}])
    request = adapter_pb2.UpdateAliasRequest(
        alias=alias,
        update_mask=FieldMask(paths=paths),
        allow_missing=not body.etag,
        request_id=request_id,
        reason=body.reason,
    )
    return alias_object((await services.adapters.UpdateAlias(request)).alias)


@router.delete("/v1/adapters/{adapter_id}/aliases/{alias_id}")
async def delete_alias(
    adapter_id: str,
    alias_id: str,
    query: Annotated[DeleteAlias, Query()],
    services: ServicesOf,
    request_id: RequestId = "",
) -> Deleted:
    """Delete an alias; the version it points at stays."""
    adapter = adapter_name(adapter_id, "adapter_id")
    name = str(AliasName(adapter.project, adapter.adapter, check_slug(alias_id, "alias_id")))
    request = adapter_pb2.DeleteAliasRequest(name=name, etag=query.etag, request_id=request_id)
    await services.adapters.DeleteAlias(request)
    return Deleted(id=alias_id, object="alias")
