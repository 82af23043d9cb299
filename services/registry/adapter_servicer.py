"""tenon.registry.v1.AdapterService."""

# ruff: noqa: N802 - gRPC calls methods by the names of the contract.

from services.common.artifacts.store import ArtifactStore
from services.common.resource_names import (
    AdapterName,
    AdapterVersionName,
    AliasName,
    ProjectName,
    check_slug,
    parse_adapter_reference,
)
from services.common.rpc.interceptors import Context
from services.common.signing import Trust
from services.registry import adapters, aliases, convert, versions
from services.registry.failures import invalid
from services.registry.gate import Passage
from services.registry.mutation import mutate
from services.registry.store import RegistryStore, RegistryTransaction
from tenon.registry.v1 import adapter_pb2 as pb
from tenon.registry.v1 import adapter_pb2_grpc


class AdapterServicer(adapter_pb2_grpc.AdapterServiceServicer):
    """Keeps adapters, versions and aliases; status codes as in adapter.proto."""

    def __init__(self, store: RegistryStore, artifacts: ArtifactStore, trust: Trust) -> None:
        """Keep records in one store; look for files in the other; believe what trusted keys signed."""
        self._store = store
        self._artifacts = artifacts
        self._trust = trust

    async def CreateAdapter(self, request: pb.CreateAdapterRequest, _: Context) -> pb.CreateAdapterResponse:
        """See adapter.proto."""
        parent = ProjectName.parse(request.parent, "parent")
        name = AdapterName(parent.project, check_slug(request.adapter_id, "adapter_id"))

        async def create(transaction: RegistryTransaction) -> pb.CreateAdapterResponse:
            sent = request.adapter
            adapter = await adapters.create(transaction, name, sent.display_name, sent.description)
            return pb.CreateAdapterResponse(adapter=convert.adapter(adapter))

        return await mutate(self._store, parent.project, request, pb.CreateAdapterResponse, create)

    async def GetAdapter(self, request: pb.GetAdapterRequest, _: Context) -> pb.GetAdapterResponse:
        """See adapter.proto."""
        name = AdapterName.parse(request.name)
        async with self._store.transaction() as transaction:
            return pb.GetAdapterResponse(adapter=convert.adapter(await adapters.get(transaction, name)))

    async def ListAdapters(self, request: pb.ListAdaptersRequest, _: Context) -> pb.ListAdaptersResponse:
        """See adapter.proto."""
        parent = ProjectName.parse(request.parent, "parent")
        async with self._store.transaction() as transaction:
            page = await adapters.list_page(transaction, parent, convert.page_request(request))
        return pb.ListAdaptersResponse(adapters=map(convert.adapter, page.items), next_page_token=page.next_token)

    async def DeleteAdapter(self, request: pb.DeleteAdapterRequest, _: Context) -> pb.DeleteAdapterResponse:
        """See adapter.proto."""
        name = AdapterName.parse(request.name)

        async def delete(transaction: RegistryTransaction) -> pb.DeleteAdapterResponse:
            await adapters.delete(transaction, name, expected=request.etag, force=request.force)
            return pb.DeleteAdapterResponse()

        return await mutate(self._store, name.project, request, pb.DeleteAdapterResponse, delete)

    async def CreateAdapterVersion(
        self, request: pb.CreateAdapterVersionRequest, _: Context
    ) -> pb.CreateAdapterVersionResponse:
        """See adapter.proto."""
        parent = AdapterName.parse(request.parent, "parent")
        new = await versions.read_manifest(parent, request.manifest, request.envelope, self._trust)

        async def create(transaction: RegistryTransaction) -> pb.CreateAdapterVersionResponse:
            version = await versions.create(transaction, new)
            return pb.CreateAdapterVersionResponse(adapter_version=convert.version(version))

        return await mutate(self._store, parent.project, request, pb.CreateAdapterVersionResponse, create)

    async def FinalizeAdapterVersion(
        self, request: pb.FinalizeAdapterVersionRequest, _: Context
    ) -> pb.FinalizeAdapterVersionResponse:
        """See adapter.proto."""
        name = AdapterVersionName.parse(request.name)
        await versions.check_files(self._store, self._artifacts, name)

        async def make_ready(transaction: RegistryTransaction) -> pb.FinalizeAdapterVersionResponse:
            version = await versions.make_ready(transaction, name)
            return pb.FinalizeAdapterVersionResponse(adapter_version=convert.version(version))

        return await mutate(self._store, name.project, request, pb.FinalizeAdapterVersionResponse, make_ready)

    async def RevokeAdapterVersion(
        self, request: pb.RevokeAdapterVersionRequest, _: Context
    ) -> pb.RevokeAdapterVersionResponse:
        """See adapter.proto."""
        name = AdapterVersionName.parse(request.name)

        async def revoke(transaction: RegistryTransaction) -> pb.RevokeAdapterVersionResponse:
            version = await versions.revoke(transaction, name, request.reason)
            return pb.RevokeAdapterVersionResponse(adapter_version=convert.version(version))

        return await mutate(self._store, name.project, request, pb.RevokeAdapterVersionResponse, revoke)

    async def DeleteAdapterVersion(
        self, request: pb.DeleteAdapterVersionRequest, _: Context
    ) -> pb.DeleteAdapterVersionResponse:
        """See adapter.proto."""
        name = AdapterVersionName.parse(request.name)

        async def delete(transaction: RegistryTransaction) -> pb.DeleteAdapterVersionResponse:
            await versions.delete(transaction, name)
            return pb.DeleteAdapterVersionResponse()

        return await mutate(self._store, name.project, request, pb.DeleteAdapterVersionResponse, delete)

    async def GetAdapterVersion(self, request: pb.GetAdapterVersionRequest, _: Context) -> pb.GetAdapterVersionResponse:
        """See adapter.proto."""
        name = AdapterVersionName.parse(request.name)
        async with self._store.transaction() as transaction:
            version = await versions.get(transaction, name)
        return pb.GetAdapterVersionResponse(adapter_version=convert.version(version))

    async def ListAdapterVersions(
        self, request: pb.ListAdapterVersionsRequest, _: Context
    ) -> pb.ListAdapterVersionsResponse:
        """See adapter.proto."""
        parent = AdapterName.parse(request.parent, "parent")
        async with self._store.transaction() as transaction:
            page = await versions.list_page(transaction, parent, convert.page_request(request))
        return pb.ListAdapterVersionsResponse(
            adapter_versions=map(convert.version, page.items), next_page_token=page.next_token
        )

    async def UpdateAlias(self, request: pb.UpdateAliasRequest, _: Context) -> pb.UpdateAliasResponse:
        """See adapter.proto."""
        name = AliasName.parse(request.alias.name, "alias.name")
        paths = set(request.update_mask.paths) or {"version"}
        if paths - {"version", "gated"}:
            shown = ", ".join(request.update_mask.paths)[:200]
            raise invalid("update_mask", f"update_mask is {shown!r}; only `version` and `gated` can be updated.")
        passage = Passage(request.alias.gated if "gated" in paths else None, request.reason)
        target = AdapterVersionName.parse(request.alias.version, "alias.version") if "version" in paths else None
        expected = request.alias.etag

        async def move(transaction: RegistryTransaction) -> pb.UpdateAliasResponse:
            if target is None:
                alias = await aliases.set_gate(transaction, name, expected=expected, passage=passage)
            else:
                create = request.allow_missing
                alias = await aliases.move(transaction, name, target, expected=expected, create=create, passage=passage)
            return pb.UpdateAliasResponse(alias=convert.alias(alias))

        return await mutate(self._store, name.project, request, pb.UpdateAliasResponse, move)

    async def ListAliases(self, request: pb.ListAliasesRequest, _: Context) -> pb.ListAliasesResponse:
        """See adapter.proto."""
        parent = AdapterName.parse(request.parent, "parent")
        async with self._store.transaction() as transaction:
            page = await aliases.list_page(transaction, parent, convert.page_request(request))
        return pb.ListAliasesResponse(aliases=map(convert.alias, page.items), next_page_token=page.next_token)

    async def DeleteAlias(self, request: pb.DeleteAliasRequest, _: Context) -> pb.DeleteAliasResponse:
        """See adapter.proto."""
        name = AliasName.parse(request.name)

        async def delete(transaction: RegistryTransaction) -> pb.DeleteAliasResponse:
            await aliases.delete(transaction, name, expected=request.etag)
            return pb.DeleteAliasResponse()

        return await mutate(self._store, name.project, request, pb.DeleteAliasResponse, delete)

    async def ResolveAdapter(self, request: pb.ResolveAdapterRequest, _: Context) -> pb.ResolveAdapterResponse:
        """See adapter.proto."""
        name = parse_adapter_reference(request.name)
        async with self._store.transaction() as transaction:
            version = await aliases.resolve(transaction, name)
        return pb.ResolveAdapterResponse(adapter_version=convert.version(version))

    async def FindUsedFiles(self, request: pb.FindUsedFilesRequest, _: Context) -> pb.FindUsedFilesResponse:
        """See adapter.proto."""
        parent = ProjectName.parse(request.parent, "parent")
        async with self._store.transaction() as transaction:
            used = await versions.find_used_files(transaction, parent, request.sha256s)
        return pb.FindUsedFilesResponse(sha256s=sorted(used))
