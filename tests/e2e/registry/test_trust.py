"""Signatures and revocations over the wire, status code by status code."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from grpc import StatusCode

from services.common.artifacts.filesystem import FileSystemStore
from services.common.errors import DomainError, Reason
from services.common.rpc.channel import open_channel
from tenon.registry.v1 import adapter_pb2 as pb
from tests.e2e.registry.client import Registry, failure
from tests.support.keys import STRANGERS_KEY, TEST_KEY, signed
from tests.support.registry import registry_settings, running_registry

REVOKED = pb.AdapterVersion.STATE_REVOKED


def expect(error: DomainError, code: StatusCode, reason: Reason) -> None:
    assert (error.code, error.reason) == (code, reason)


@pytest.fixture
async def ready(registry: Registry, artifacts_directory: Path) -> pb.AdapterVersion:
    """A READY version, to which `latest` points."""
    project = registry.project.removeprefix("projects/")
    FileSystemStore.open(artifacts_directory).put(project, [b"{}"], max_bytes=100)
    await registry.add_base()
    await registry.add_adapter()
    version = await registry.finalize((await registry.add_version()).name)
    await registry.move("latest", version.name)
    return version


async def test_a_version_comes_back_with_its_signatures(registry: Registry, ready: pb.AdapterVersion) -> None:
    assert ready.envelope == signed(registry.manifest())
    assert ready.provenance == pb.PROVENANCE_WITNESSED
    assert list(ready.signer_key_ids) == [TEST_KEY.public.key_id]
    assert await registry.resolve(registry.adapter) == ready
    listed = await registry.adapters.ListAdapterVersions(pb.ListAdapterVersionsRequest(parent=registry.adapter))
    (version,) = listed.adapter_versions
    assert (version.envelope, list(version.signer_key_ids)) == (b"", [TEST_KEY.public.key_id])


async def test_what_no_trusted_key_signed_is_refused_and_not_recorded(registry: Registry) -> None:
    await registry.add_base()
    await registry.add_adapter()
    manifest = registry.manifest()
    for envelope, reason in (
        (b"", Reason.SIGNATURE_MISSING),
        (b"[]", Reason.SIGNATURE_INVALID),
        (signed(registry.manifest(seed=1)), Reason.SIGNATURE_INVALID),
        (signed(manifest, STRANGERS_KEY), Reason.SIGNATURE_UNTRUSTED),
    ):
        request = pb.CreateAdapterVersionRequest(
            parent=registry.adapter, manifest=manifest.to_bytes(), envelope=envelope
        )
        error = await failure(registry.adapters.CreateAdapterVersion(request))
        expect(error, StatusCode.FAILED_PRECONDITION, reason)
    listed = await registry.adapters.ListAdapterVersions(pb.ListAdapterVersionsRequest(parent=registry.adapter))
    assert not listed.adapter_versions


async def test_a_revoked_version_is_listed_and_nothing_else(registry: Registry, ready: pb.AdapterVersion) -> None:
    revoked = await registry.revoke(ready.name, "it swears")
    assert (revoked.state, revoked.revoke_reason, revoked.HasField("revoke_time")) == (REVOKED, "it swears", True)
    found = await registry.adapters.GetAdapterVersion(pb.GetAdapterVersionRequest(name=ready.name))
    assert found.adapter_version == revoked
    for call in (
        registry.add_version(),
        registry.resolve(registry.adapter),
        registry.resolve(ready.name),
        registry.move("production", ready.name),
        registry.finalize(ready.name),
    ):
        error = await failure(call)
        expect(error, StatusCode.FAILED_PRECONDITION, Reason.ADAPTER_VERSION_REVOKED)
        assert "it swears" in error.message
        assert error.metadata["adapter_version"] == ready.name
    assert await registry.revoke(ready.name, "another reason") == revoked


async def test_a_repeated_revocation_is_answered_as_the_first_was(registry: Registry, ready: pb.AdapterVersion) -> None:
    request_id = str(uuid4())
    first = await registry.revoke(ready.name, request_id=request_id)
    assert await registry.revoke(ready.name, request_id=request_id) == first
    error = await failure(registry.revoke(ready.name, "another reason", request_id=request_id))
    assert error.reason is Reason.REQUEST_ID_REUSED


async def test_the_longest_reason_arrives(registry: Registry, ready: pb.AdapterVersion) -> None:
    await registry.revoke(ready.name, "猴" * 1000)
    error = await failure(registry.resolve(registry.adapter))
    expect(error, StatusCode.FAILED_PRECONDITION, Reason.ADAPTER_VERSION_REVOKED)
    assert "猴" * 100 in error.message


async def test_wrong_revocations_are_refused(registry: Registry, ready: pb.AdapterVersion) -> None:
    for name, reason, code in (
        (ready.name, "", StatusCode.INVALID_ARGUMENT),
        (ready.name, "x" * 1001, StatusCode.INVALID_ARGUMENT),
        (f"{registry.adapter}/versions/1", "x", StatusCode.INVALID_ARGUMENT),
        (f"{registry.adapter}/versions/{'0' * 64}", "x", StatusCode.NOT_FOUND),
    ):
        assert (await failure(registry.revoke(name, reason))).code is code
    assert await registry.resolve(registry.adapter) == ready


@pytest.fixture
async def own(postgres_url: str, artifacts_directory: Path, tmp_path: Path) -> AsyncIterator[Registry]:
    """A registry that trusts the keys in `tmp_path`, with a base and an adapter."""
    settings = registry_settings(postgres_url, artifacts_directory).model_copy(update={"trusted_keys": (tmp_path,)})
    async with running_registry(settings) as server, open_channel(server.address) as channel:
        registry = Registry(channel)
        await registry.add_base()
        await registry.add_adapter()
        yield registry


async def test_keys_come_and_go_without_a_restart(own: Registry, tmp_path: Path) -> None:
    old, new = (tmp_path / name for name in ("old.pem", "new.pem"))
    error = await failure(own.add_version())
    expect(error, StatusCode.FAILED_PRECONDITION, Reason.SIGNATURE_UNTRUSTED)
    old.write_bytes(TEST_KEY.public.to_pem())
    first = await own.add_version()
    new.write_bytes(STRANGERS_KEY.public.to_pem())
    both = await own.add_version(key=STRANGERS_KEY)
    assert both.name == first.name
    assert list(both.signer_key_ids) == [STRANGERS_KEY.public.key_id, TEST_KEY.public.key_id]
    old.unlink()
    error = await failure(own.add_version(own.manifest(seed=1)))
    expect(error, StatusCode.FAILED_PRECONDITION, Reason.SIGNATURE_UNTRUSTED)
    assert (await own.add_version(own.manifest(seed=1), key=STRANGERS_KEY)).state == pb.AdapterVersion.STATE_PENDING
