"""Shorthand of the suite: a base model, an adapter, versions and aliases put into a store."""

from services.common.identity import BaseFingerprint
from services.common.manifest import AdapterManifest
from services.common.resource_names import AdapterName, AdapterVersionName, AliasName
from services.common.signing import SigningKey, TrustedKeys
from services.common.training_report import TrainingReport
from services.registry import adapters, aliases, base_models, versions
from services.registry.gate import Passage
from services.registry.model import Adapter, AdapterVersion, Alias, BaseModel, NewVersion
from services.registry.store import RegistryStore
from tests.support.keys import STRANGERS_KEY, TEST_KEY, signed
from tests.support.registry import fingerprint, manifest

WUKONG = AdapterName("default", "wukong")
BOTH_TRUSTED = TrustedKeys([TEST_KEY.public, STRANGERS_KEY.public])


def alias_name(alias: str) -> AliasName:
    return AliasName(WUKONG.project, WUKONG.adapter, alias)


async def add_base(
    store: RegistryStore,
    base_model_id: str = "tiny",
    base: BaseFingerprint | None = None,
    sources: tuple[str, ...] = ("file:///models/tiny",),
) -> BaseModel:
    document = (base or fingerprint()).to_document()
    new = await base_models.check_new(base_model_id, f"Tiny {base_model_id}", document, sources)
    async with store.transaction() as transaction:
        return await base_models.create(transaction, new)


async def add_adapter(store: RegistryStore, name: AdapterName = WUKONG) -> Adapter:
    async with store.transaction() as transaction:
        return await adapters.create(transaction, name, "Sun Wukong", "speaks like the Monkey King")


async def read(sample: AdapterManifest, adapter: AdapterName = WUKONG, key: SigningKey = TEST_KEY) -> NewVersion:
    return await versions.read_manifest(adapter, sample.to_bytes(), signed(sample, key), BOTH_TRUSTED)


async def add_version(
    store: RegistryStore, *, seed: int = 0, ready: bool = True, report: TrainingReport | None = None
) -> AdapterVersion:
    new = await read(manifest(seed=seed, report=report))
    async with store.transaction() as transaction:
        version = await versions.create(transaction, new)
        return await versions.make_ready(transaction, version.name) if ready else version


async def move(
    store: RegistryStore,
    alias: str,
    target: AdapterVersionName,
    expected: str = "",
    *,
    create: bool = True,
    gated: bool | None = None,
    reason: str = "",
) -> Alias:
    passage = Passage(gated, reason)
    async with store.transaction() as transaction:
        return await aliases.move(
            transaction, alias_name(alias), target, expected=expected, create=create, passage=passage
        )


async def revoke(store: RegistryStore, name: AdapterVersionName, reason: str = "it swears") -> AdapterVersion:
    async with store.transaction() as transaction:
        return await versions.revoke(transaction, name, reason)


async def get_adapter(store: RegistryStore) -> Adapter:
    async with store.transaction() as transaction:
        return await adapters.get(transaction, WUKONG)
