"""AdapterService over the wire: what adapter.proto promises, status code by status code."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode

from services.common.artifacts.filesystem import FileSystemStore
from services.common.artifacts.names import blob_key
from services.common.errors import DomainError, Reason
from tenon.registry.v1 import adapter_pb2 as pb
from tests.e2e.registry.client import Registry, failure
from tests.support.registry import file_of, fingerprint

CONTENT = b"{}"
READY = pb.AdapterVersion.STATE_READY
PENDING = pb.AdapterVersion.STATE_PENDING


@pytest.fixture
def blobs(registry: Registry, artifacts_directory: Path) -> FileSystemStore:
    """The artifact store, with what `Registry.manifest` names."""
    store = FileSystemStore.open(artifacts_directory)
    store.put(registry.project.removeprefix("projects/"), [CONTENT], max_bytes=100)
    return store


@pytest.fixture
async def ready(registry: Registry, blobs: FileSystemStore) -> pb.AdapterVersion:
    """A READY version of the adapter."""
    await registry.add_base()
    await registry.add_adapter()
    return await registry.finalize((await registry.add_version()).name)


def expect(error: DomainError, code: StatusCode, reason: Reason) -> None:
    assert (error.code, error.reason) == (code, reason)


async def test_an_adapter_is_created_once_and_found(registry: Registry) -> None:
    created = await registry.add_adapter()
    assert created.name == registry.adapter
    found = await registry.adapters.GetAdapter(pb.GetAdapterRequest(name=registry.adapter))
    assert found.adapter == created
    expect(await failure(registry.add_adapter()), StatusCode.ALREADY_EXISTS, Reason.ADAPTER_EXISTS)


async def test_of_many_who_create_it_at_once_one_does(registry: Registry) -> None:
    outcomes = await asyncio.gather(*(registry.add_adapter() for _ in range(10)), return_exceptions=True)
    lost = [outcome.reason for outcome in outcomes if isinstance(outcome, DomainError)]
    assert lost == [Reason.ADAPTER_EXISTS] * 9


async def test_a_repeated_request_gets_the_first_answer_also_at_the_same_time(registry: Registry) -> None:
    request_id = str(uuid4())
    answers = await asyncio.gather(*(registry.add_adapter(request_id=request_id) for _ in range(6)))
    assert answers == [answers[0]] * 6
    error = await failure(registry.add_adapter(request_id=request_id, display_name="another"))
    expect(error, StatusCode.ALREADY_EXISTS, Reason.REQUEST_ID_REUSED)
    error = await failure(registry.add_adapter(request_id="not a uuid"))
    expect(error, StatusCode.INVALID_ARGUMENT, Reason.INVALID_ARGUMENT)


async def test_what_was_refused_may_be_sent_again_with_its_id(registry: Registry) -> None:
    await registry.add_base()
    request_id = str(uuid4())
    error = await failure(registry.add_version(request_id=request_id))
    expect(error, StatusCode.NOT_FOUND, Reason.ADAPTER_NOT_FOUND)
    await registry.add_adapter()
    assert (await registry.add_version(request_id=request_id)).state == PENDING


async def test_adapters_are_listed_by_name_and_pages_survive_inserts(registry: Registry) -> None:
    async def create(adapter_id: str) -> None:
        await registry.adapters.CreateAdapter(pb.CreateAdapterRequest(parent=registry.project, adapter_id=adapter_id))

    async def page(token: str) -> tuple[list[str], str]:
        request = pb.ListAdaptersRequest(parent=registry.project, page_size=2, page_token=token)
        answer = await registry.adapters.ListAdapters(request)
        return [adapter.name.rpartition("/")[2] for adapter in answer.adapters], answer.next_page_token

    for adapter_id in "bdf":
        await create(adapter_id)
    first, token = await page("")
    await create("a")
    await create("e")
    second, end = await page(token)
    assert (first, second, end) == (["b", "d"], ["e", "f"], "")
    foreign = pb.ListAdaptersRequest(parent="projects/other", page_token=token)
    error = await failure(registry.adapters.ListAdapters(foreign))
    expect(error, StatusCode.INVALID_ARGUMENT, Reason.INVALID_ARGUMENT)


async def test_a_version_waits_for_its_files_and_is_then_ready(registry: Registry, blobs: FileSystemStore) -> None:
    await registry.add_base()
    await registry.add_adapter()
    project = registry.project.removeprefix("projects/")
    files = (file_of("adapter_config.json", CONTENT), file_of("adapter_model.safetensors", b"weights"))
    sample = registry.manifest(files=files)
    version = await registry.add_version(sample)
    assert version.name == f"{registry.adapter}/versions/{sample.digest}"
    assert version.state == PENDING
    assert [(file.path, file.size_bytes, file.sha256) for file in version.files] == [
        (file.path, file.size, file.sha256) for file in files
    ]
    error = await failure(registry.finalize(version.name))
    expect(error, StatusCode.FAILED_PRECONDITION, Reason.ADAPTER_FILES_MISSING)
    assert [violation.field for violation in error.violations] == ["adapter_model.safetensors"]

    blobs.put(project, [b"weights"], max_bytes=100)
    answers = await asyncio.gather(*(registry.finalize(version.name) for _ in range(4)))
    assert answers == [answers[0]] * 4
    assert answers[0].state == READY
    assert answers[0].HasField("ready_time")
    assert await registry.add_version(sample) == answers[0]


async def test_a_damaged_file_is_data_loss(
    registry: Registry, blobs: FileSystemStore, artifacts_directory: Path
) -> None:
    await registry.add_base()
    await registry.add_adapter()
    version = await registry.add_version()
    blob = artifacts_directory / blob_key(registry.project.removeprefix("projects/"), version.files[0].sha256)
    blob.chmod(0o600)
    blob.write_bytes(b"[]")
    expect(await failure(registry.finalize(version.name)), StatusCode.DATA_LOSS, Reason.ARTIFACT_CORRUPT)
    found = await registry.adapters.GetAdapterVersion(pb.GetAdapterVersionRequest(name=version.name))
    assert found.adapter_version.state == PENDING


async def test_a_manifest_is_checked_before_it_is_recorded(registry: Registry) -> None:
    await registry.add_adapter()
    sample = registry.manifest(base=fingerprint("weights that nobody registered"))
    error = await failure(registry.add_version(sample))
    expect(error, StatusCode.NOT_FOUND, Reason.BASE_MODEL_NOT_FOUND)
    await registry.add_base(fingerprint("other weights"))
    error = await failure(registry.add_version(sample))
    expect(error, StatusCode.FAILED_PRECONDITION, Reason.BASE_FINGERPRINT_MISMATCH)
    assert error.metadata["verdict"] == "WEIGHTS_DIFFER"
    for wrong in (b"", b"{}", registry.manifest().to_bytes() + b" ", b"x" * (1024 * 1024 + 1)):
        request = pb.CreateAdapterVersionRequest(parent=registry.adapter, manifest=wrong)
        error = await failure(registry.adapters.CreateAdapterVersion(request))
        expect(error, StatusCode.INVALID_ARGUMENT, Reason.MANIFEST_INVALID)
    listed = await registry.adapters.ListAdapterVersions(pb.ListAdapterVersionsRequest(parent=registry.adapter))
    assert not listed.adapter_versions


async def test_versions_are_listed_newest_first_without_manifests(registry: Registry, ready: pb.AdapterVersion) -> None:
    newer = await registry.add_version(registry.manifest(seed=1))
    request = pb.ListAdapterVersionsRequest(parent=registry.adapter, page_size=1)
    first = await registry.adapters.ListAdapterVersions(request)
    assert [version.name for version in first.adapter_versions] == [newer.name]
    await registry.add_version(registry.manifest(seed=2))
    request.page_token = first.next_page_token
    second = await registry.adapters.ListAdapterVersions(request)
    assert [version.name for version in second.adapter_versions] == [ready.name]
    assert second.next_page_token == ""
    assert second.adapter_versions[0].manifest == b""
    assert second.adapter_versions[0].files == ready.files


async def test_an_alias_moves_by_its_etag(registry: Registry, ready: pb.AdapterVersion) -> None:
    other = await registry.finalize((await registry.add_version(registry.manifest(seed=1))).name)
    first = await registry.move("latest", ready.name)
    assert await registry.resolve(registry.adapter) == ready
    moved = await registry.move("latest", other.name, etag=first.etag)
    assert moved.etag != first.etag
    for name in (registry.adapter, moved.name, other.name):
        assert await registry.resolve(name) == other
    error = await failure(registry.move("latest", ready.name, etag=first.etag))
    expect(error, StatusCode.ABORTED, Reason.ETAG_MISMATCH)
    listed = await registry.adapters.ListAliases(pb.ListAliasesRequest(parent=registry.adapter))
    assert list(listed.aliases) == [moved]


async def test_a_repeated_move_is_answered_as_the_first_was(registry: Registry, ready: pb.AdapterVersion) -> None:
    first = await registry.move("latest", ready.name)
    other = await registry.finalize((await registry.add_version(registry.manifest(seed=1))).name)
    request_id = str(uuid4())
    moved = await registry.move("latest", other.name, etag=first.etag, request_id=request_id)
    assert await registry.move("latest", other.name, etag=first.etag, request_id=request_id) == moved


async def test_a_removed_alias_is_gone(registry: Registry, ready: pb.AdapterVersion) -> None:
    alias = await registry.move("production", ready.name)
    delete = registry.adapters.DeleteAlias
    error = await failure(delete(pb.DeleteAliasRequest(name=alias.name, etag='"0"')))
    expect(error, StatusCode.ABORTED, Reason.ETAG_MISMATCH)
    request = pb.DeleteAliasRequest(name=alias.name, etag=alias.etag, request_id=str(uuid4()))
    await delete(request)
    await delete(request)  # the same request: the same answer
    error = await failure(delete(pb.DeleteAliasRequest(name=alias.name)))
    expect(error, StatusCode.NOT_FOUND, Reason.ALIAS_NOT_FOUND)


async def test_what_an_alias_cannot_point_at(registry: Registry, ready: pb.AdapterVersion) -> None:
    pending = await registry.add_version(registry.manifest(seed=1))
    unknown = f"{registry.adapter}/versions/{'0' * 64}"
    for target, code, reason in (
        (pending.name, StatusCode.FAILED_PRECONDITION, Reason.ADAPTER_VERSION_NOT_READY),
        (unknown, StatusCode.NOT_FOUND, Reason.ADAPTER_VERSION_NOT_FOUND),
        ("", StatusCode.INVALID_ARGUMENT, Reason.INVALID_ARGUMENT),
    ):
        expect(await failure(registry.move("latest", target)), code, reason)
    error = await failure(registry.move("latest", ready.name, create=False))
    expect(error, StatusCode.NOT_FOUND, Reason.ALIAS_NOT_FOUND)
    masked = pb.UpdateAliasRequest(
        alias=pb.Alias(name=f"{registry.adapter}/aliases/latest", version=ready.name),
        update_mask=FieldMask(paths=["version", "name"]),
        allow_missing=True,
    )
    error = await failure(registry.adapters.UpdateAlias(masked))
    expect(error, StatusCode.INVALID_ARGUMENT, Reason.INVALID_ARGUMENT)
    masked.update_mask.paths[:] = ["version"]
    assert (await registry.adapters.UpdateAlias(masked)).alias.version == ready.name


async def test_what_is_not_there_is_not_found(registry: Registry) -> None:
    version, alias = f"{registry.adapter}/versions/{'0' * 64}", f"{registry.adapter}/aliases/latest"
    stub = registry.adapters
    for call in (
        stub.GetAdapter(pb.GetAdapterRequest(name=registry.adapter)),
        stub.ListAdapterVersions(pb.ListAdapterVersionsRequest(parent=registry.adapter)),
        stub.ListAliases(pb.ListAliasesRequest(parent=registry.adapter)),
        stub.GetAdapterVersion(pb.GetAdapterVersionRequest(name=version)),
        stub.ResolveAdapter(pb.ResolveAdapterRequest(name=registry.adapter)),
        registry.move("latest", version),
        registry.finalize(version),
    ):
        expect(await failure(call), StatusCode.NOT_FOUND, Reason.ADAPTER_NOT_FOUND)
    await registry.add_adapter()
    for call in (
        stub.GetAdapterVersion(pb.GetAdapterVersionRequest(name=version)),
        stub.ResolveAdapter(pb.ResolveAdapterRequest(name=version)),
        registry.finalize(version),
    ):
        expect(await failure(call), StatusCode.NOT_FOUND, Reason.ADAPTER_VERSION_NOT_FOUND)
    for name in (registry.adapter, alias):
        expect(await failure(registry.resolve(name)), StatusCode.NOT_FOUND, Reason.ALIAS_NOT_FOUND)


async def test_resolving_a_pending_version_says_so(registry: Registry) -> None:
    await registry.add_base()
    await registry.add_adapter()
    version = await registry.add_version()
    error = await failure(registry.resolve(version.name))
    expect(error, StatusCode.FAILED_PRECONDITION, Reason.ADAPTER_VERSION_NOT_READY)


async def test_malformed_names_are_invalid_and_named(registry: Registry) -> None:
    stub = registry.adapters
    for call, field in (
        (stub.CreateAdapter(pb.CreateAdapterRequest(parent="default", adapter_id="a")), "parent"),
        (stub.CreateAdapter(pb.CreateAdapterRequest(parent=registry.project, adapter_id="A b")), "adapter_id"),
        (stub.GetAdapter(pb.GetAdapterRequest(name="wukong")), "name"),
        (stub.CreateAdapterVersion(pb.CreateAdapterVersionRequest(parent="")), "parent"),
        (registry.finalize(f"{registry.adapter}/versions/1"), "name"),
        (registry.resolve(f"{registry.adapter}/aliases/../x"), "name"),
        (registry.move("UP", f"{registry.adapter}/versions/{'0' * 64}"), "alias.name"),
    ):
        error = await failure(call)
        expect(error, StatusCode.INVALID_ARGUMENT, Reason.INVALID_ARGUMENT)
        assert [violation.field for violation in error.violations] == [field]
