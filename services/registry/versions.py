"""Versions: recorded by a signed manifest, READY once every file it names is in the store, until they are revoked."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from services.common.artifacts.store import ArtifactStore
from services.common.errors import DomainError, Reason
from services.common.identity import FingerprintSummary, Verdict, compare, mismatch_error
from services.common.manifest import AdapterManifest, ManifestFile, manifest_digest
from services.common.resource_names import AdapterName, AdapterVersionName, BaseModelName, ProjectName, TrainingJobName
from services.common.signing import Trust
from services.registry import adapters, base_models, failures
from services.registry.dependants import Dependants, require_none
from services.registry.model import NEWEST, AdapterVersion, Found, NewVersion
from services.registry.pages import Page, PageRequest, read_page
from services.registry.store import RegistryStore, RegistryTransaction
from services.registry.texts import MAX_REVOKE_REASON, check_line

MAX_DIGESTS: Final = 1000


async def read_manifest(parent: AdapterName, manifest: bytes, envelope: bytes, trust: Trust) -> NewVersion:
    """Read the manifest of a version that arrives, and check that a trusted key signed it.

    Raises:
        DomainError: MANIFEST_INVALID; SIGNATURE_MISSING; SIGNATURE_INVALID; SIGNATURE_UNTRUSTED.
    """
    # A megabyte of JSON is checked for its canonical form.
    return await asyncio.to_thread(_new_version, parent, manifest, envelope, trust)


async def create(transaction: RegistryTransaction, new: NewVersion) -> AdapterVersion:
    """Record a version, PENDING; the same manifest again adds the signatures that are new and else changes nothing.

    Raises:
        DomainError: ADAPTER_NOT_FOUND; BASE_MODEL_NOT_FOUND; BASE_FINGERPRINT_MISMATCH; ADAPTER_VERSION_REVOKED: it was
            withdrawn in this project, under this adapter's name or another's.
    """
    adapter = AdapterName(new.name.project, new.name.adapter)
    await adapters.lock(transaction, adapter)
    existing = await transaction.find_version(new.name)
    if existing is not None:
        return await _add_signatures(transaction, _not_revoked(existing), new.signatures)
    await _check_base(transaction, new)
    version = _not_revoked(await transaction.insert_version(new))
    await transaction.touch_adapter(adapter)
    return version


async def check_files(store: RegistryStore, artifacts: ArtifactStore, name: AdapterVersionName) -> None:
    """Read every file of a PENDING version back from the store.

    It takes as long as reading takes, so no transaction is open meanwhile.

    Raises:
        DomainError: ADAPTER_NOT_FOUND; ADAPTER_VERSION_NOT_FOUND; ADAPTER_VERSION_REVOKED; ADAPTER_FILES_MISSING;
            ARTIFACT_CORRUPT; ARTIFACT_STORE_UNAVAILABLE.
    """
    async with store.transaction() as transaction:
        version = _not_revoked(await get(transaction, name))
    if version.ready_time is None:
        await asyncio.to_thread(_read_back, artifacts, version)


async def make_ready(transaction: RegistryTransaction, name: AdapterVersionName) -> AdapterVersion:
    """Make a version READY whose files were read back; one that is READY already stays as it is.

    Raises:
        DomainError: ADAPTER_NOT_FOUND; ADAPTER_VERSION_NOT_FOUND; ADAPTER_VERSION_REVOKED.
    """
    adapter = AdapterName(name.project, name.adapter)
    await adapters.lock(transaction, adapter)
    version = _not_revoked(await _find(transaction, name))
    if version.ready_time is not None:
        return version
    version = await transaction.make_ready(name)
    await transaction.touch_adapter(adapter)
    return version


async def revoke(transaction: RegistryTransaction, name: AdapterVersionName, reason: str) -> AdapterVersion:
    """Withdraw a version for good; one that was withdrawn already keeps its first reason.

    Raises:
        DomainError: ADAPTER_NOT_FOUND; ADAPTER_VERSION_NOT_FOUND; INVALID_ARGUMENT: the reason is empty, too long, or
            more than a line.
    """
    reason = check_line(reason, "reason", MAX_REVOKE_REASON)
    adapter = AdapterName(name.project, name.adapter)
    await adapters.lock(transaction, adapter)
    version = await _find(transaction, name)
    if version.revoke_time is not None:
        return version
    version = await transaction.revoke(name, reason)
    await transaction.touch_adapter(adapter)
    return version


async def delete(transaction: RegistryTransaction, name: AdapterVersionName) -> None:
    """Remove a version to which no alias points.

    Raises:
        DomainError: ADAPTER_NOT_FOUND; ADAPTER_VERSION_NOT_FOUND; RESOURCE_IN_USE.
    """
    adapter = AdapterName(name.project, name.adapter)
    await adapters.lock(transaction, adapter)
    await _find(transaction, name)
    pointing = [str(alias.name) for alias in await transaction.list_aliases_of(name)]
    aliases = Dependants(("alias", "aliases"), Found(pointing, len(pointing)))
    require_none(str(name), [aliases], "Point them at another version, or delete them.")
    await transaction.delete_version(name)
    await transaction.touch_adapter(adapter)


async def find_used_files(transaction: RegistryTransaction, parent: ProjectName, sha256s: Sequence[str]) -> set[str]:
    """Return those of some digests that versions of a project name, in whatever state.

    Raises:
        DomainError: INVALID_ARGUMENT: too many at once.
    """
    if len(sha256s) > MAX_DIGESTS:
        raise failures.invalid("sha256s", f"{len(sha256s)} digests at once are too many; at most {MAX_DIGESTS}.")
    return await transaction.find_used_files(parent.project, sha256s)


async def get(transaction: RegistryTransaction, name: AdapterVersionName) -> AdapterVersion:
    """Return a version with its manifest.

    Raises:
        DomainError: ADAPTER_NOT_FOUND; ADAPTER_VERSION_NOT_FOUND.
    """
    await adapters.get(transaction, AdapterName(name.project, name.adapter))
    return await _find(transaction, name)


async def get_ready(transaction: RegistryTransaction, name: AdapterVersionName) -> AdapterVersion:
    """Return a version that can be used.

    Raises:
        DomainError: ADAPTER_NOT_FOUND; ADAPTER_VERSION_NOT_FOUND; ADAPTER_VERSION_REVOKED; ADAPTER_VERSION_NOT_READY.
    """
    version = _not_revoked(await get(transaction, name))
    if version.ready_time is None:
        raise failures.version_not_ready(name)
    return version


async def list_page(transaction: RegistryTransaction, parent: AdapterName, page: PageRequest) -> Page[AdapterVersion]:
    """List an adapter's versions, newest first, without manifests.

    Raises:
        DomainError: ADAPTER_NOT_FOUND; INVALID_ARGUMENT.
    """
    await adapters.get(transaction, parent)

    async def fetch(after: str, limit: int) -> Sequence[AdapterVersion]:
        return await transaction.list_versions(parent, before=_number(after), limit=limit)

    return await read_page(page, f"{parent}/versions", fetch, lambda item: str(item.number))


def _number(key: str) -> int:
    if not key:
        return NEWEST
    if not key.isdecimal() or len(key) > len(str(NEWEST)):
        raise failures.invalid("page_token", "page_token is not from this list; start again without it.")
    return min(int(key), NEWEST)


async def _find(transaction: RegistryTransaction, name: AdapterVersionName) -> AdapterVersion:
    version = await transaction.find_version(name)
    if version is None:
        raise failures.version_not_found(name)
    return version


def _not_revoked(version: AdapterVersion) -> AdapterVersion:
    if version.revoke_time is not None:
        raise failures.version_revoked(version, version.revoke_time)
    return version


async def _add_signatures(
    transaction: RegistryTransaction, version: AdapterVersion, signatures: Mapping[str, bytes]
) -> AdapterVersion:
    if signatures.keys() <= version.signatures.keys():
        return version
    await transaction.touch_adapter(AdapterName(version.name.project, version.name.adapter))
    return await transaction.add_signatures(version.name, signatures)


def _trained_on(manifest: AdapterManifest) -> FingerprintSummary:
    try:
        return FingerprintSummary.from_summary(manifest.base)
    except DomainError as error:
        text = f"The manifest cannot be used: its base is no fingerprint summary. {error.message}"
        raise DomainError(Reason.MANIFEST_INVALID, text) from error


def _new_version(parent: AdapterName, data: bytes, envelope: bytes, trust: Trust) -> NewVersion:
    manifest = AdapterManifest.from_bytes(data)
    return NewVersion(
        name=AdapterVersionName(parent.project, parent.adapter, manifest_digest(data)),
        manifest=data,
        base_model=BaseModelName.parse(manifest.base_model, "manifest.base_model"),
        trained_on=_trained_on(manifest),
        training_job=_training_job(manifest),
        files=manifest.files,
        provenance=manifest.provenance,
        signatures=trust.valid_signatures(envelope, data),
    )


def _training_job(manifest: AdapterManifest) -> str:
    """Return the job that a manifest names; what is no job's name is provenance of another kind and left there."""
    try:
        return str(TrainingJobName.parse(str(manifest.training.get("job", ""))))
    except DomainError:
        return ""


async def _check_base(transaction: RegistryTransaction, new: NewVersion) -> None:
    """The base must be registered; under which name does not matter, because the fingerprint decides."""
    if await transaction.keep_base_model_of(new.trained_on.id):
        return
    registered = await base_models.keep(transaction, new.base_model)
    comparison = compare(new.trained_on, registered.fingerprint)
    if comparison.verdict is not Verdict.EXACT:
        name = str(new.base_model)
        raise mismatch_error(comparison, expected_name=name, actual_name=f"{name} as it is registered")


def _read_back(artifacts: ArtifactStore, version: AdapterVersion) -> None:
    # What is missing is told at once, before gigabytes are read.
    faults = list(_missing(artifacts, version))
    if faults:
        raise failures.files_missing(version.name, faults)
    for file in version.files:
        artifacts.verify(version.name.project, file.sha256)


def _missing(artifacts: ArtifactStore, version: AdapterVersion) -> Iterator[tuple[ManifestFile, str]]:
    for file in version.files:
        try:
            blob = artifacts.stat(version.name.project, file.sha256)
        except DomainError as error:
            if error.reason is not Reason.ARTIFACT_NOT_FOUND:
                raise
            yield file, f"no blob {file.sha256} in project {version.name.project}"
            continue
        if blob.size != file.size:
            # Either its bytes are damaged, which is told as that, or the manifest is wrong about them.
            artifacts.verify(version.name.project, file.sha256)
            yield file, f"the blob {file.sha256} has {blob.size} bytes, the manifest says {file.size}"
