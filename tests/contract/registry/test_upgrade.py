"""A database that the first migration made, with rows in it, under the registry of today."""

import json
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import pytest

from services.common.db import Database, migrate, open_database
from services.common.manifest import Provenance
from services.common.resource_names import AdapterVersionName
from services.common.settings import DatabaseSettings
from services.registry import aliases, convert, versions
from services.registry.model import VersionState
from services.registry.pages import PageRequest
from services.registry.postgres import MIGRATIONS, SCHEMA, PostgresRegistryStore
from tests.contract.registry.samples import WUKONG, add_version, move, read, revoke
from tests.support.keys import TEST_KEY
from tests.support.postgres import PostgresServer
from tests.support.registry import fingerprint, manifest

OLD_ROWS = """
    INSERT INTO registry.base_models (base_model, display_name, fingerprint_id, fingerprint, document, sources)
    VALUES ('tiny', 'Tiny', %(base)s, %(summary)s, %(document)s, '{file:///models/tiny}');
    INSERT INTO registry.adapters (project, adapter, display_name, description) VALUES ('default', 'wukong', '', '');
    INSERT INTO registry.adapter_versions
      (project, adapter, version, manifest, base_model, base_fingerprint_id, training_job, files, ready_time)
    VALUES ('default', 'wukong', %(one)s, %(first)s, 'tiny', %(base)s, '', '[]', now()),
           ('default', 'wukong', %(two)s, %(second)s, 'tiny', %(base)s, '', '[]', NULL);
    INSERT INTO registry.aliases (project, adapter, alias, version) VALUES ('default', 'wukong', 'latest', %(one)s);
"""


@pytest.fixture
async def database(postgres_server: PostgresServer) -> AsyncIterator[Database]:
    url = postgres_server.create_database()
    async with open_database(DatabaseSettings(database_url=url), application_name="test") as database:
        yield database
    postgres_server.drop_database(url)


@pytest.fixture
def first_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with the first migration alone."""
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "first_registry_migration"
    package.mkdir()
    (package / "__init__.py").touch()
    name = "0001_registry.sql"
    (package / name).write_text((files(MIGRATIONS) / name).read_text("utf-8"))
    return package.name


@pytest.fixture
async def old(database: Database, first_migration: str) -> PostgresRegistryStore:
    """A READY and a PENDING version from before, in a database of today."""
    await migrate(database, SCHEMA, first_migration)
    base, first, second = fingerprint(), manifest(seed=1), manifest(seed=2)
    values = {
        "base": base.id,
        "summary": json.dumps(base.summary()),
        "document": base.to_document(),
        "one": first.digest,
        "first": first.to_bytes(),
        "two": second.digest,
        "second": second.to_bytes(),
    }
    async with database.transaction() as connection:
        for statement in filter(None, map(str.strip, OLD_ROWS.split(";\n"))):
            used = {key: value for key, value in values.items() if f"%({key})s" in statement}
            await connection.execute(statement.encode(), used)
    await migrate(database, SCHEMA, MIGRATIONS)
    return PostgresRegistryStore(database)


async def test_versions_from_before_are_listed_and_resolved_without_signatures(old: PostgresRegistryStore) -> None:
    async with old.transaction() as transaction:
        page = await versions.list_page(transaction, WUKONG, PageRequest(0, ""))
        resolved = convert.version(await aliases.resolve(transaction, WUKONG))
    assert [item.state for item in page.items] == [VersionState.PENDING, VersionState.READY]
    assert {item.provenance for item in page.items} == {Provenance.WITNESSED}
    assert resolved.manifest == manifest(seed=1).to_bytes()
    assert (resolved.envelope, list(resolved.signer_key_ids)) == (b"", [])


async def test_they_can_be_signed_later(old: PostgresRegistryStore) -> None:
    new = await read(manifest(seed=1))
    async with old.transaction() as transaction:
        version = await versions.create(transaction, new)
    assert version.state is VersionState.READY
    assert version.signatures.keys() == {TEST_KEY.public.key_id}


async def test_they_become_ready_and_revoked_as_new_ones(old: PostgresRegistryStore) -> None:
    pending = AdapterVersionName("default", "wukong", manifest(seed=2).digest)
    async with old.transaction() as transaction:
        assert (await versions.make_ready(transaction, pending)).state is VersionState.READY
    assert (await revoke(old, pending)).state is VersionState.REVOKED
    newer = await add_version(old, seed=3)
    assert (await move(old, "latest", newer.name)).version == newer.name
