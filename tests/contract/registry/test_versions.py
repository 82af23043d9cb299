import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from services.common.artifacts.filesystem import FileSystemStore
from services.common.artifacts.names import blob_key
from services.common.errors import DomainError, Reason
from services.common.paging import encode_page_token
from services.common.resource_names import AdapterName, AdapterVersionName
from services.common.signing import sign
from services.registry import versions
from services.registry.model import AdapterVersion, VersionState
from services.registry.pages import PageRequest
from services.registry.store import RegistryStore
from tests.contract.registry.samples import WUKONG, add_adapter, add_base, add_version, get_adapter, read
from tests.support.keys import TEST_KEY, TEST_TRUST
from tests.support.registry import file_of, fingerprint, manifest

CONTENT = b'{"r": 8}'
FILES = (file_of("adapter_config.json", CONTENT), file_of("adapter_model.safetensors", b"weights"))


@pytest.fixture
def artifacts(tmp_path: Path) -> FileSystemStore:
    return FileSystemStore.open(tmp_path / "artifacts")


async def finalize(store: RegistryStore, artifacts: FileSystemStore, name: AdapterVersionName) -> AdapterVersion:
    await versions.check_files(store, artifacts, name)
    async with store.transaction() as transaction:
        return await versions.make_ready(transaction, name)


async def pending(store: RegistryStore) -> AdapterVersion:
    await add_base(store)
    await add_adapter(store)
    new = await read(manifest(FILES))
    async with store.transaction() as transaction:
        return await versions.create(transaction, new)


async def create_reason(store: RegistryStore, data: bytes, adapter: AdapterName = WUKONG) -> DomainError:
    async def create() -> None:
        new = await versions.read_manifest(adapter, data, sign(data, TEST_KEY).to_bytes(), TEST_TRUST)
        async with store.transaction() as transaction:
            await versions.create(transaction, new)

    with pytest.raises(DomainError) as caught:
        await create()
    return caught.value


async def test_a_version_is_named_by_its_manifest_and_says_what_it_holds(store: RegistryStore) -> None:
    version = await pending(store)
    assert version.name.version == manifest(FILES).digest
    assert version.state is VersionState.PENDING
    assert str(version.base_model) == "baseModels/tiny"
    assert version.base_fingerprint_id == fingerprint().id
    assert version.training_job == "projects/default/trainingJobs/first"
    assert version.files == FILES
    async with store.transaction() as transaction:
        assert await versions.get(transaction, version.name) == version


async def test_the_same_manifest_is_the_same_version(store: RegistryStore) -> None:
    version = await pending(store)
    new = await read(manifest(FILES))

    async def create() -> AdapterVersion:
        async with store.transaction() as transaction:
            return await versions.create(transaction, new)

    assert await asyncio.gather(*(create() for _ in range(4))) == [version] * 4


async def test_a_manifest_that_is_none_is_refused(store: RegistryStore) -> None:
    assert (await create_reason(store, b"{}")).reason is Reason.MANIFEST_INVALID


async def test_a_manifest_whose_base_contradicts_itself_is_refused(store: RegistryStore) -> None:
    sample = manifest()
    forged = replace(sample, base={**sample.base, "weights_root": "0" * 64})
    assert (await create_reason(store, forged.to_bytes())).reason is Reason.MANIFEST_INVALID


async def test_a_version_of_no_adapter_is_refused(store: RegistryStore) -> None:
    await add_base(store)
    assert (await create_reason(store, manifest().to_bytes())).reason is Reason.ADAPTER_NOT_FOUND


async def test_a_version_of_an_unknown_base_is_refused(store: RegistryStore) -> None:
    await add_adapter(store)
    assert (await create_reason(store, manifest().to_bytes())).reason is Reason.BASE_MODEL_NOT_FOUND


async def test_the_fingerprint_decides_whatever_the_base_is_called(store: RegistryStore) -> None:
    await add_adapter(store)
    await add_base(store, base=fingerprint("other weights"))
    await add_base(store, "called-otherwise")
    assert (await add_version(store)).ready_time is not None


async def test_a_version_of_a_base_registered_with_other_bytes_is_refused(store: RegistryStore) -> None:
    await add_adapter(store)
    await add_base(store, base=fingerprint("other weights"))
    error = await create_reason(store, manifest().to_bytes())
    assert error.reason is Reason.BASE_FINGERPRINT_MISMATCH
    assert error.metadata["verdict"] == "WEIGHTS_DIFFER"
    assert error.metadata["expected_id"] == fingerprint().id
    assert error.metadata["actual_id"] == fingerprint("other weights").id


async def test_provenance_that_names_no_job_is_no_job(store: RegistryStore) -> None:
    await add_base(store)
    await add_adapter(store)
    new = await read(manifest(job="made by hand \0"))
    async with store.transaction() as transaction:
        assert (await versions.create(transaction, new)).training_job == ""


async def test_it_becomes_ready_when_every_file_is_there(store: RegistryStore, artifacts: FileSystemStore) -> None:
    version = await pending(store)
    before = await get_adapter(store)
    artifacts.put("default", [CONTENT], max_bytes=100)
    with pytest.raises(DomainError) as caught:
        await finalize(store, artifacts, version.name)
    assert caught.value.reason is Reason.ADAPTER_FILES_MISSING
    assert [violation.field for violation in caught.value.violations] == ["adapter_model.safetensors"]
    assert caught.value.metadata["missing"] == "1"
    assert await get_adapter(store) == before

    artifacts.put("default", [b"weights"], max_bytes=100)
    ready = await finalize(store, artifacts, version.name)
    assert ready.state is VersionState.READY
    assert ready.ready_time is not None
    assert ready.ready_time >= ready.create_time
    assert (await get_adapter(store)).revision != before.revision


async def test_finalizing_again_or_at_the_same_time_changes_nothing(
    store: RegistryStore, artifacts: FileSystemStore
) -> None:
    version = await pending(store)
    for content in (CONTENT, b"weights"):
        artifacts.put("default", [content], max_bytes=100)
    first, *others = await asyncio.gather(*(finalize(store, artifacts, version.name) for _ in range(5)))
    after = await get_adapter(store)
    assert others == [first] * 4
    assert await finalize(store, artifacts, version.name) == first
    assert await get_adapter(store) == after


async def test_the_files_of_another_project_do_not_count(store: RegistryStore, artifacts: FileSystemStore) -> None:
    version = await pending(store)
    for content in (CONTENT, b"weights"):
        artifacts.put("other", [content], max_bytes=100)
    with pytest.raises(DomainError) as caught:
        await finalize(store, artifacts, version.name)
    assert caught.value.metadata["missing"] == "2"


async def test_a_damaged_file_is_data_loss(store: RegistryStore, artifacts: FileSystemStore, tmp_path: Path) -> None:
    version = await pending(store)
    for content in (CONTENT, b"weights"):
        artifacts.put("default", [content], max_bytes=100)
    blob = tmp_path / "artifacts" / blob_key("default", FILES[1].sha256)
    for damaged in (b"weightz", b"weigh"):
        blob.chmod(0o600)
        blob.write_bytes(damaged)
        with pytest.raises(DomainError) as caught:
            await finalize(store, artifacts, version.name)
        assert caught.value.reason is Reason.ARTIFACT_CORRUPT


async def test_a_manifest_that_is_wrong_about_a_size_never_becomes_ready(
    store: RegistryStore, artifacts: FileSystemStore
) -> None:
    await add_base(store)
    await add_adapter(store)
    artifacts.put("default", [CONTENT], max_bytes=100)
    right = file_of("adapter_config.json", CONTENT)
    wrong = replace(right, size=right.size + 1)
    new = await read(manifest((wrong,)))
    async with store.transaction() as transaction:
        await versions.create(transaction, new)
    with pytest.raises(DomainError) as caught:
        await finalize(store, artifacts, new.name)
    assert caught.value.reason is Reason.ADAPTER_FILES_MISSING
    assert f"{right.size} bytes" in caught.value.violations[0].description


async def test_versions_are_listed_newest_first_without_manifests(store: RegistryStore) -> None:
    await add_base(store)
    await add_adapter(store)
    made = [await add_version(store, seed=seed) for seed in range(5)]
    seen: list[AdapterVersion] = []
    token = ""
    for seed in range(5, 8):
        async with store.transaction() as transaction:
            page = await versions.list_page(transaction, WUKONG, PageRequest(2, token))
        seen += page.items
        token = page.next_token
        await add_version(store, seed=seed)  # newer than all that follow, so no page shows it
    assert [version.name for version in seen] == [version.name for version in reversed(made)]
    assert {version.manifest for version in seen} == {b""}
    assert seen[0].files == made[4].files
    assert token == ""


async def test_versions_of_no_adapter_are_not_found(store: RegistryStore) -> None:
    with pytest.raises(DomainError) as caught:
        async with store.transaction() as transaction:
            await versions.list_page(transaction, WUKONG, PageRequest(0, ""))
    assert caught.value.reason is Reason.ADAPTER_NOT_FOUND


@pytest.mark.parametrize("key", ["abc", "9" * 30, "-1"])
async def test_a_made_up_token_is_refused(store: RegistryStore, key: str) -> None:
    await add_adapter(store)
    forged = encode_page_token(key, f"{WUKONG}/versions")
    with pytest.raises(DomainError) as caught:
        async with store.transaction() as transaction:
            await versions.list_page(transaction, WUKONG, PageRequest(1, forged))
    assert caught.value.reason is Reason.INVALID_ARGUMENT


async def test_an_unknown_version_is_not_found(store: RegistryStore, artifacts: FileSystemStore) -> None:
    unknown = AdapterVersionName("default", "wukong", "0" * 64)
    for reason in (Reason.ADAPTER_NOT_FOUND, Reason.ADAPTER_VERSION_NOT_FOUND):
        with pytest.raises(DomainError) as caught:
            await finalize(store, artifacts, unknown)
        assert caught.value.reason is reason
        if reason is Reason.ADAPTER_NOT_FOUND:
            await add_adapter(store)
