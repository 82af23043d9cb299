"""Projects, keys and the audit log over every store."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.auth.caller import Caller, Scope, call_by
from services.common.auth.guard import AuditEntry
from services.common.auth.keys import key_digest, key_prefix, new_key
from services.common.db import Database
from services.common.errors import DomainError, Reason
from services.common.resource_names import ProjectName
from services.registry.dependants import Dependants
from services.registry.iam.iam import DAY_SECONDS, Iam
from services.registry.iam.model import IamStore
from services.registry.iam.own import AdminKey
from services.registry.iam.postgres import PostgresIamStore
from services.registry.model import Found
from tenon.iam.v1 import iam_pb2 as pb

DEFAULT = "projects/default"
SUITE = Caller(principal="projects/default/apiKeys/suite", project=None, scopes=frozenset({Scope.ADMIN}))


@pytest.fixture(autouse=True)
def as_suite_admin() -> Iterator[None]:
    with call_by(SUITE):
        yield


@pytest.fixture
def iam(store: IamStore) -> Iam:
    return Iam(store)


def asked(*scopes: int, **more: object) -> pb.ApiKey:
    return pb.ApiKey(scopes=scopes or (pb.SCOPE_READ,), **more)  # type: ignore[arg-type]


async def refused(iam: Iam, key: pb.ApiKey, parent: str = DEFAULT) -> DomainError:
    with pytest.raises(DomainError) as caught:
        await iam.create_key(parent, key)
    return caught.value


async def test_a_key_is_known_by_its_digest_until_it_is_revoked(iam: Iam) -> None:
    made = await iam.create_key(DEFAULT, asked(pb.SCOPE_TRAIN, pb.SCOPE_SERVE, pb.SCOPE_TRAIN, requests_per_minute=7))
    assert made.secret not in repr(made)
    assert made.key.prefix == made.secret[:14]
    assert made.key.creator == SUITE.principal
    caller = await iam.caller(key_digest(made.secret))
    assert caller == Caller(
        principal=str(made.key.name),
        project="default",
        scopes=frozenset({Scope.TRAIN, Scope.SERVE}),
        requests_per_minute=7,
    )
    assert await iam.get_key(str(made.key.name)) == made.key
    ended = await iam.revoke_key(str(made.key.name))
    assert ended.revoke_time is not None
    assert await iam.revoke_key(str(made.key.name)) == ended
    for digest in (key_digest(made.secret), key_digest(new_key())):
        with pytest.raises(DomainError) as caught:
            await iam.caller(digest)
        assert caught.value.reason is Reason.UNAUTHENTICATED


async def test_a_key_ends_when_it_was_to(iam: Iam, store: IamStore) -> None:
    soon = Timestamp()
    soon.FromDatetime(datetime.now(UTC) + timedelta(milliseconds=300))
    made = await iam.create_key(DEFAULT, asked(expire_time=soon))
    assert await store.find_valid(key_digest(made.secret)) is not None
    while datetime.now(UTC) < soon.ToDatetime(UTC) + timedelta(milliseconds=50):
        pass
    assert await store.find_valid(key_digest(made.secret)) is None
    assert (await refused(iam, asked(expire_time=soon))).violations[0].field == "api_key.expire_time"


async def test_what_a_key_cannot_be(iam: Iam) -> None:
    assert (await refused(iam, pb.ApiKey())).violations[0].field == "api_key.scopes"
    assert (await refused(iam, asked(99))).reason is Reason.INVALID_ARGUMENT
    assert (await refused(iam, asked(display_name="x" * 257))).violations[0].field == "api_key.display_name"
    assert (await refused(iam, asked(tokens_per_minute=-1))).violations[0].field == "api_key.tokens_per_minute"
    assert (await refused(iam, asked(), "projects/nobody")).reason is Reason.PROJECT_NOT_FOUND
    assert (await refused(iam, asked(), "project/x")).reason is Reason.INVALID_ARGUMENT


async def test_nobody_makes_a_key_that_may_do_more_than_their_own(iam: Iam) -> None:
    mine = Caller(principal="projects/default/apiKeys/a", project="default", scopes=frozenset({Scope.ADMIN}))
    with call_by(mine):
        assert (await refused(iam, asked(all_projects=True))).reason is Reason.PERMISSION_DENIED
    assert (await iam.create_key(DEFAULT, asked(pb.SCOPE_ADMIN, all_projects=True))).key.all_projects


async def test_keys_and_projects_are_listed_page_by_page(iam: Iam) -> None:
    for name in ("b", "a", "c"):
        await iam.create_project(name, name.upper())
    with pytest.raises(DomainError) as caught:
        await iam.create_project("b", "")
    assert caught.value.reason is Reason.PROJECT_EXISTS
    first, token = await iam.list_projects(3, "")
    rest, end = await iam.list_projects(3, token)
    assert [project.project for project in (*first, *rest)] == ["a", "b", "c", "default"]
    assert (len(first), end) == (3, "")
    with call_by(Caller(principal="projects/b/apiKeys/x", project="b", scopes=frozenset({Scope.READ}))):
        assert [project.project for project in (await iam.list_projects(0, ""))[0]] == ["b"]
    made = [(await iam.create_key("projects/a", asked())).key.name for _ in range(3)]
    first_keys, token = await iam.list_keys("projects/a", 2, "")
    more_keys, _ = await iam.list_keys("projects/a", 2, token)
    assert [key.name for key in (*first_keys, *more_keys)] == made[::-1]
    assert (await iam.list_keys("projects/b", 0, ""))[0] == []
    with pytest.raises(DomainError) as caught:
        await iam.get_key("projects/a/apiKeys/nobody")
    assert caught.value.reason is Reason.API_KEY_NOT_FOUND


async def test_the_admin_key_is_the_one_in_the_file(iam: Iam, store: IamStore) -> None:
    keys = [new_key(), new_key()]
    for key in (keys[0], keys[0], keys[1]):
        await AdminKey(store, key).check()
    assert (await iam.caller(key_digest(keys[1]))).is_suite_admin
    assert await store.find_valid(key_digest(keys[0])) is None
    listed, _ = await iam.list_keys(DEFAULT, 0, "")
    assert [key.prefix for key in listed] == [key_prefix(keys[1])]


def entry(number: int, project: str) -> AuditEntry:
    return AuditEntry(
        time=1_700_000_000.25 + number,
        principal=f"projects/{project}/apiKeys/k",
        project=project,
        method=f"/m/{number}",
        resource="r",
        peer="p",
        code="OK",
    )


async def test_the_log_is_read_from_its_end_and_by_project(iam: Iam, store: IamStore) -> None:
    entries = [entry(number, "a" if number % 2 else "b") for number in range(5)]
    await store.record(entries[:2])
    await store.record(entries[2:])
    first, token = await iam.list_entries("projects/-", 2, "")
    rest, _ = await iam.list_entries("projects/-", 9, token)
    assert [recorded.entry for recorded in (*first, *rest)] == entries[::-1]
    numbers = [recorded.sequence for recorded in (*first, *rest)]
    assert numbers == sorted(numbers, reverse=True)
    assert [recorded.entry for recorded in (await iam.list_entries("projects/a", 0, ""))[0]] == [entries[3], entries[1]]


@pytest.mark.parametrize(
    "statement", ["UPDATE iam.audit_events SET code = 'x'", "DELETE FROM iam.audit_events", "TRUNCATE iam.audit_events"]
)
async def test_the_log_only_grows(database: Database, statement: str) -> None:
    await PostgresIamStore(database).record([replace(entry(1, "a"), time=time.time() - 29 * DAY_SECONDS)])
    with pytest.raises((psycopg.Error, DomainError)):
        async with database.transaction() as connection:
            await connection.execute(statement)


async def test_an_empty_project_is_deleted_and_its_id_is_never_given_again(iam: Iam) -> None:
    await iam.create_project("apes", "Apes")
    made = await iam.create_key("projects/apes", asked())
    await iam.revoke_key(str(made.key.name))
    await iam.delete_project("projects/apes")
    projects, _ = await iam.list_projects(0, "")
    assert [project.project for project in projects] == ["default"]
    for again in (iam.create_project("apes", ""), iam.create_key("projects/apes", asked())):
        with pytest.raises(DomainError) as caught:
            await again
        assert caught.value.reason in {Reason.PROJECT_EXISTS, Reason.PROJECT_NOT_FOUND}
    with pytest.raises(DomainError) as caught:
        await iam.delete_project("projects/apes")
    assert caught.value.reason is Reason.PROJECT_NOT_FOUND


async def test_a_key_for_all_projects_is_not_one_for_those_that_are_not_there(iam: Iam) -> None:
    every = key_digest((await iam.create_key(DEFAULT, asked(pb.SCOPE_ADMIN, all_projects=True))).secret)
    own = key_digest((await iam.create_key(DEFAULT, asked())).secret)
    await iam.create_project("apes", "")
    for project in ("", "default", "apes"):
        assert (await iam.caller(every, project)).project is None
    await iam.delete_project("projects/apes")
    for project in ("apes", "never-made"):
        with pytest.raises(DomainError) as caught:
            await iam.caller(every, project)
        assert caught.value.reason is Reason.PROJECT_NOT_FOUND
        # What a project's own key may name is not asked here.
        assert (await iam.caller(own, project)).project == "default"


async def test_a_project_that_holds_something_is_not_deleted(store: IamStore) -> None:
    async def contents(project: ProjectName) -> list[Dependants]:
        return [Dependants(("adapter", "adapters"), Found([f"{project}/adapters/wukong"], 1))]

    empty, full = Iam(store), Iam(store, contents)
    await empty.create_project("apes", "")
    valid = await empty.create_key("projects/apes", asked())
    for iam, told in ((empty, ["1 valid key"]), (full, ["1 adapter", "adapters/wukong", "1 valid key"])):
        with pytest.raises(DomainError) as caught:
            await iam.delete_project("projects/apes")
        assert caught.value.reason is Reason.RESOURCE_IN_USE
        assert str(valid.key.name) in caught.value.metadata["dependants"].split(",")
        assert all(part in caught.value.message for part in told)
    assert (await empty.caller(key_digest(valid.secret))).principal == str(valid.key.name)


async def test_the_default_project_stays(iam: Iam) -> None:
    with pytest.raises(DomainError) as caught:
        await iam.delete_project(DEFAULT)
    assert caught.value.reason is Reason.RESOURCE_IN_USE


async def test_old_entries_are_forgotten_but_never_young_ones(iam: Iam, store: IamStore) -> None:
    now = time.time()
    ages = (400, 40, 29, 0)
    await store.record([replace(entry(age, "a"), time=now - age * DAY_SECONDS) for age in ages])
    assert await iam.forget_entries(365) == 1
    assert await iam.forget_entries(1) == 1
    left, _ = await iam.list_entries("projects/a", 0, "")
    assert [round((now - recorded.entry.time) / DAY_SECONDS) for recorded in left] == [0, 29]
    await store.record([entry(1, "b")])
    numbers = [recorded.sequence for recorded in (await iam.list_entries("projects/-", 0, ""))[0]]
    assert len(set(numbers)) == 3
