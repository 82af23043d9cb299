"""``tenon.iam.v1``: IamService for administrators, IntrospectionService for the suite's own services."""

# ruff: noqa: N802 - gRPC calls methods by the names of the contract.

from services.common.errors import DomainError, Reason
from services.common.resource_names import ProjectName
from services.common.rpc.interceptors import Context
from services.registry.iam.convert import entry_from_proto, entry_to_proto, key_to_proto, project_to_proto
from services.registry.iam.iam import MAX_RECORDED, Iam
from services.registry.iam.model import IamStore
from tenon.iam.v1 import iam_pb2 as pb
from tenon.iam.v1 import iam_pb2_grpc


class IamServicer(iam_pb2_grpc.IamServiceServicer):
    """Projects, keys and the audit log; status codes as in iam.proto."""

    def __init__(self, iam: Iam) -> None:
        """Serve use cases."""
        self._iam = iam

    async def CreateProject(self, request: pb.CreateProjectRequest, _: Context) -> pb.CreateProjectResponse:
        """See iam.proto."""
        made = await self._iam.create_project(request.project_id, request.project.display_name)
        return pb.CreateProjectResponse(project=project_to_proto(made))

    async def ListProjects(self, request: pb.ListProjectsRequest, _: Context) -> pb.ListProjectsResponse:
        """See iam.proto."""
        found, token = await self._iam.list_projects(request.page_size, request.page_token)
        return pb.ListProjectsResponse(projects=map(project_to_proto, found), next_page_token=token)

    async def DeleteProject(self, request: pb.DeleteProjectRequest, _: Context) -> pb.DeleteProjectResponse:
        """See iam.proto."""
        await self._iam.delete_project(request.name)
        return pb.DeleteProjectResponse()

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, _: Context) -> pb.CreateApiKeyResponse:
        """See iam.proto."""
        made = await self._iam.create_key(request.parent, request.api_key)
        return pb.CreateApiKeyResponse(api_key=key_to_proto(made.key), secret=made.secret)

    async def GetApiKey(self, request: pb.GetApiKeyRequest, _: Context) -> pb.GetApiKeyResponse:
        """See iam.proto."""
        return pb.GetApiKeyResponse(api_key=key_to_proto(await self._iam.get_key(request.name)))

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, _: Context) -> pb.ListApiKeysResponse:
        """See iam.proto."""
        found, token = await self._iam.list_keys(request.parent, request.page_size, request.page_token)
        return pb.ListApiKeysResponse(api_keys=map(key_to_proto, found), next_page_token=token)

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, _: Context) -> pb.RevokeApiKeyResponse:
        """See iam.proto."""
        return pb.RevokeApiKeyResponse(api_key=key_to_proto(await self._iam.revoke_key(request.name)))

    async def ListAuditEvents(self, request: pb.ListAuditEventsRequest, _: Context) -> pb.ListAuditEventsResponse:
        """See iam.proto."""
        found, token = await self._iam.list_entries(request.parent, request.page_size, request.page_token)
        return pb.ListAuditEventsResponse(audit_events=map(entry_to_proto, found), next_page_token=token)


class IntrospectionServicer(iam_pb2_grpc.IntrospectionServiceServicer):
    """What services ask one another; status codes as in iam.proto."""

    def __init__(self, iam: Iam, store: IamStore) -> None:
        """Serve use cases, and the log itself."""
        self._iam = iam
        self._store = store

    async def Introspect(self, request: pb.IntrospectRequest, _: Context) -> pb.IntrospectResponse:
        """See iam.proto."""
        project = ProjectName.parse(request.project, "project").project if request.project else ""
        return pb.IntrospectResponse(api_key=key_to_proto(await self._iam.introspect(request.key_sha256, project)))

    async def RecordAuditEvents(self, request: pb.RecordAuditEventsRequest, _: Context) -> pb.RecordAuditEventsResponse:
        """See iam.proto."""
        if len(request.audit_events) > MAX_RECORDED:
            text = f"{len(request.audit_events)} events at once are too many; at most {MAX_RECORDED}."
            raise DomainError(Reason.INVALID_ARGUMENT, text)
        await self._store.record([entry_from_proto(event) for event in request.audit_events])
        return pb.RecordAuditEventsResponse()
