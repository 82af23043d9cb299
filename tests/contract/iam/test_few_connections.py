"""Projects where there is no connection to spare."""

import asyncio

from services.common.db import migrate, open_database
from services.common.settings import DatabaseSettings
from services.registry.dependants import NoTrainer, ProjectContents
from services.registry.iam.iam import Iam
from services.registry.iam.postgres import MIGRATIONS, SCHEMA, PostgresIamStore
from services.registry.postgres import MIGRATIONS as REGISTRY_MIGRATIONS
from services.registry.postgres import SCHEMA as REGISTRY_SCHEMA
from services.registry.postgres import PostgresRegistryStore


async def test_projects_are_deleted_beside_one_another_with_one_connection(postgres_url: str) -> None:
    settings = DatabaseSettings(database_url=postgres_url, database_pool_size=1)
    async with open_database(settings, application_name="test") as database:
        await migrate(database, SCHEMA, MIGRATIONS)
        await migrate(database, REGISTRY_SCHEMA, REGISTRY_MIGRATIONS)
        iam = Iam(PostgresIamStore(database), ProjectContents(PostgresRegistryStore(database), NoTrainer()))
        names = [f"crowd-{number}" for number in range(5)]
        for name in names:
            await iam.create_project(name, "")
        await asyncio.gather(*(iam.delete_project(f"projects/{name}") for name in names))
        assert not {project.project for project in (await iam.list_projects(0, ""))[0]} & set(names)
