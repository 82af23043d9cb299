"""Base models: registered by the fingerprint of their bytes, never changed but for their sources."""

import asyncio
import re
from collections.abc import Sequence
from typing import Final

from services.common.identity import BaseFingerprint, FingerprintSummary
from services.common.resource_names import BaseModelName, check_slug
from services.registry import failures
from services.registry.dependants import NAMED, Dependants, TrainerDependants, require_none
from services.registry.model import BaseModel, Found, NewBaseModel, etag
from services.registry.pages import Page, PageRequest, read_page
from services.registry.store import RegistryTransaction
from services.registry.texts import MAX_DISPLAY_NAME, MAX_SOURCES, check_sources, check_text

_FINGERPRINT_ID: Final = re.compile(r"[0-9a-f]{64}")


async def check_new(base_model_id: str, display_name: str, document: bytes, sources: Sequence[str]) -> NewBaseModel:
    """Check what arrives; id and roots of the fingerprint must follow from its document.

    Raises:
        DomainError: INVALID_ARGUMENT; FINGERPRINT_INVALID; BASE_SOURCE_INVALID.
    """
    name = BaseModelName(check_slug(base_model_id, "base_model_id"))
    display_name = check_text(display_name, "base_model.display_name", MAX_DISPLAY_NAME)
    sources = check_sources(sources)
    if not document:
        text = "base_model.fingerprint.document is empty; send the document that `tenon fingerprint` makes."
        raise failures.invalid("base_model.fingerprint.document", text)
    # A large base has thousands of tensors to parse and hash.
    fingerprint = await asyncio.to_thread(_read_fingerprint, document)
    return NewBaseModel(name, display_name, fingerprint, document, sources)


def _read_fingerprint(document: bytes) -> FingerprintSummary:
    # Of the whole document only the summary stays in memory.
    return FingerprintSummary.from_summary(BaseFingerprint.from_document(document).summary())


async def create(transaction: RegistryTransaction, new: NewBaseModel) -> BaseModel:
    """Register a base model; one that is registered already gets the sources it does not have yet.

    Raises:
        DomainError: BASE_MODEL_EXISTS: the id is taken by another fingerprint; INVALID_ARGUMENT: too many sources.
    """
    while (created := await transaction.insert_base_model(new)) is None:
        existing = await transaction.lock_base_model(new.name)
        if existing is not None:
            return await _add_sources(transaction, existing, new)
        # It was being deleted, and is gone now.
    return created


async def _add_sources(transaction: RegistryTransaction, existing: BaseModel, new: NewBaseModel) -> BaseModel:
    if existing.fingerprint.id != new.fingerprint.id:
        raise failures.base_model_exists(new.name, existing.fingerprint.id, new.fingerprint.id)
    sources = tuple(dict.fromkeys((*existing.sources, *new.sources)))
    if sources == existing.sources:
        return existing
    if len(sources) > MAX_SOURCES:
        text = f"{new.name} would have {len(sources)} sources; {MAX_SOURCES} are allowed."
        raise failures.invalid("base_model.sources", text)
    return await transaction.set_sources(new.name, sources)


async def get(transaction: RegistryTransaction, name: BaseModelName, *, document: bool = False) -> BaseModel:
    """Return a base model, with its document only where asked for.

    Raises:
        DomainError: BASE_MODEL_NOT_FOUND.
    """
    found = await transaction.find_base_model(name, document=document)
    if found is None:
        raise failures.base_model_not_found(name)
    return found


async def keep(transaction: RegistryTransaction, name: BaseModelName) -> BaseModel:
    """Return a base model and let nobody delete it meanwhile.

    Raises:
        DomainError: BASE_MODEL_NOT_FOUND.
    """
    found = await transaction.keep_base_model(name)
    if found is None:
        raise failures.base_model_not_found(name)
    return found


async def delete(
    transaction: RegistryTransaction, name: BaseModelName, *, expected: str, trainer: TrainerDependants
) -> None:
    """Remove a base model that nothing needs: no version that can still answer, and no job.

    A base of another name with the same fingerprint answers for the versions as well, so that they do not need this one.

    Raises:
        DomainError: BASE_MODEL_NOT_FOUND; ETAG_MISMATCH; RESOURCE_IN_USE; SERVICE_UNAVAILABLE: the trainer does not answer.
    """
    fingerprint_id = (await get(transaction, name)).fingerprint.id
    twins = await transaction.lock_twins(fingerprint_id)
    # Again: it may have been deleted or changed while the lock was waited for.
    failures.check_etag(name, expected, etag((await get(transaction, name)).revision))
    found = list(await trainer.on_base(name))
    if len(twins) == 1:
        versions = await transaction.list_versions_on(fingerprint_id, NAMED)
        names = Found([str(version) for version in versions.some], versions.count)
        found.append(Dependants(("adapter version", "adapter versions"), names))
    require_none(str(name), found, "Delete or revoke the versions and cancel the jobs first.")
    await transaction.delete_base_model(name)


async def list_page(transaction: RegistryTransaction, page: PageRequest, fingerprint_id: str) -> Page[BaseModel]:
    """List base models by id; an empty fingerprint id means any.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    if fingerprint_id and not _FINGERPRINT_ID.fullmatch(fingerprint_id):
        raise failures.invalid("fingerprint_id", "fingerprint_id must be 64 lower-case hex digits, or empty.")

    async def fetch(after: str, limit: int) -> Sequence[BaseModel]:
        return await transaction.list_base_models(after=after, limit=limit, fingerprint_id=fingerprint_id)

    return await read_page(page, f"baseModels?{fingerprint_id}", fetch, lambda item: item.name.base_model)
