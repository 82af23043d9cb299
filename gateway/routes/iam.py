"""``/v1/projects``, ``/v1/api_keys`` and ``/v1/audit_events``."""

from typing import Annotated

from fastapi import APIRouter, Query

from gateway.auth import current_project
from gateway.mapping.iam import event_object, key_asked, key_object, new_key_object, project_object
from gateway.names import parent
from gateway.schemas.common import Deleted, Listing, Page
from gateway.schemas.iam import ApiKey, AuditEvent, CreateKey, CreateProject, NewApiKey, Project
from gateway.services import ServicesOf
from services.common.resource_names import ApiKeyName, ProjectName, check_slug
from tenon.iam.v1 import iam_pb2

router = APIRouter(tags=["Access"])


class AuditPage(Page):
    """How much of the audit log to answer, and whose."""

    all_projects: bool = False


@router.post("/v1/projects")
async def create_project(body: CreateProject, services: ServicesOf) -> Project:
    """Make a project; needs an admin key for all projects."""
    project = iam_pb2.Project(display_name=body.display_name)
    request = iam_pb2.CreateProjectRequest(project_id=body.id, project=project)
    return project_object((await services.iam.CreateProject(request)).project)


@router.get("/v1/projects")
async def list_projects(query: Annotated[Page, Query()], services: ServicesOf) -> Listing[Project]:
    """List the projects that the key is for."""
    request = iam_pb2.ListProjectsRequest(page_size=query.page_size, page_token=query.page_token)
    page = await services.iam.ListProjects(request)
    return Listing(data=list(map(project_object, page.projects)), next_page_token=page.next_page_token)


@router.delete("/v1/projects/{project_id}")
async def delete_project(project_id: str, services: ServicesOf) -> Deleted:
    """Delete a project that holds nothing; its id is never given again. Needs an admin key for all projects."""
    request = iam_pb2.DeleteProjectRequest(name=str(ProjectName(check_slug(project_id, "project_id"))))
    await services.iam.DeleteProject(request)
    return Deleted(id=project_id, object="project")


@router.post("/v1/api_keys")
async def create_key(body: CreateKey, services: ServicesOf) -> NewApiKey:
    """Make a key for the project. Its secret is told in this answer and nowhere else."""
    request = iam_pb2.CreateApiKeyRequest(parent=parent(), api_key=key_asked(body))
    return new_key_object(await services.iam.CreateApiKey(request))


@router.get("/v1/api_keys")
async def list_keys(query: Annotated[Page, Query()], services: ServicesOf) -> Listing[ApiKey]:
    """List the project's keys, the newest first; revoked ones too."""
    request = iam_pb2.ListApiKeysRequest(parent=parent(), page_size=query.page_size, page_token=query.page_token)
    page = await services.iam.ListApiKeys(request)
    return Listing(data=list(map(key_object, page.api_keys)), next_page_token=page.next_page_token)


@router.get("/v1/api_keys/{key_id}")
async def get_key(key_id: str, services: ServicesOf) -> ApiKey:
    """Describe a key."""
    return key_object((await services.iam.GetApiKey(iam_pb2.GetApiKeyRequest(name=_name(key_id)))).api_key)


@router.post("/v1/api_keys/{key_id}/revoke")
async def revoke_key(key_id: str, services: ServicesOf) -> ApiKey:
    """End a key, within five seconds everywhere."""
    return key_object((await services.iam.RevokeApiKey(iam_pb2.RevokeApiKeyRequest(name=_name(key_id)))).api_key)


@router.get("/v1/audit_events")
async def list_audit_events(query: Annotated[AuditPage, Query()], services: ServicesOf) -> Listing[AuditEvent]:
    """List what was changed in the project, and by whom, the latest first."""
    request = iam_pb2.ListAuditEventsRequest(
        parent="projects/-" if query.all_projects else parent(), page_size=query.page_size, page_token=query.page_token
    )
    page = await services.iam.ListAuditEvents(request)
    return Listing(data=list(map(event_object, page.audit_events)), next_page_token=page.next_page_token)


def _name(key_id: str) -> str:
    return str(ApiKeyName(current_project(), check_slug(key_id, "key_id")))
