"""Who is let in, to what, and what is written down of it."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
from google.protobuf.message import Message
from pydantic import SecretStr

from services.common.auth.caller import Caller, Scope, current_caller
from services.common.auth.guard import AuditEntry, Guard, unauthenticated
from services.common.auth.introspection import RememberedIntrospection
from services.common.auth.keys import is_key, key_digest, key_prefix, new_key
from services.common.errors import DomainError, Reason
from tenon.registry.v1 import adapter_pb2, base_model_pb2
from tenon.trainer.v1 import training_job_pb2

TOKEN = SecretStr("t" * 32)
READER, TRAINER, ADMIN, SUITE = new_key(), new_key(), new_key(), new_key()
CALLERS = {
    READER: Caller(principal="projects/a/apiKeys/reader", project="a", scopes=frozenset({Scope.READ})),
    TRAINER: Caller(principal="projects/a/apiKeys/trainer", project="a", scopes=frozenset({Scope.TRAIN})),
    ADMIN: Caller(principal="projects/a/apiKeys/admin", project="a", scopes=frozenset({Scope.ADMIN})),
    SUITE: Caller(principal="projects/a/apiKeys/suite", project=None, scopes=frozenset({Scope.ADMIN})),
}
GET = "/tenon.registry.v1.AdapterService/GetAdapter"
CANCEL = "/tenon.trainer.v1.TrainingJobService/CancelTrainingJob"
CREATE_BASE = "/tenon.registry.v1.BaseModelService/CreateBaseModel"
INTROSPECT = "/tenon.iam.v1.IntrospectionService/Introspect"


class Log:
    def __init__(self) -> None:
        self.entries: list[AuditEntry] = []
        self.full = False

    async def ready(self) -> None:
        if self.full:
            raise DomainError(Reason.SERVICE_UNAVAILABLE, "full")

    async def record(self, entry: AuditEntry) -> None:
        self.entries.append(entry)


async def introspect(digest: str, project: str = "", /) -> Caller:
    if project == "nowhere":
        raise DomainError(Reason.PROJECT_NOT_FOUND, "There is no project nowhere.")
    for key, caller in CALLERS.items():
        if key_digest(key) == digest:
            return caller
    raise unauthenticated()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def guard(log: Log) -> Guard:
    return Guard(introspect, TOKEN, log)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def reason(guard: Guard, method: str, metadata: Mapping[str, str], resource: str = "") -> Reason | None:
    """Why a call is refused; None where it is not."""
    try:
        async with guard.admit(method, metadata, "ipv4:1.2.3.4:5") as admitted:
            assert admitted is not None
            if resource:
                await admitted.check(adapter_pb2.GetAdapterRequest(name=resource))
    except DomainError as error:
        return Reason.INTERNAL if "projects/b" in error.message else error.reason
    return None


MINE, THEIRS = "projects/a/adapters/x", "projects/b/adapters/x"
OWN = {"tenon-service-token": TOKEN.get_secret_value(), "tenon-service": "worker"}


@pytest.mark.parametrize(
    ("method", "metadata", "resource", "expected"),
    [
        (GET, {}, MINE, Reason.UNAUTHENTICATED),
        (GET, {"authorization": "Basic abc"}, MINE, Reason.UNAUTHENTICATED),
        (GET, bearer("tenon-short"), MINE, Reason.UNAUTHENTICATED),
        (GET, bearer(new_key()), MINE, Reason.UNAUTHENTICATED),
        (GET, {"tenon-service-token": "t" * 31}, MINE, Reason.UNAUTHENTICATED),
        # A key that is presented counts, whoever passes it on.
        (GET, {**OWN, **bearer(new_key())}, MINE, Reason.UNAUTHENTICATED),
        (GET, bearer(READER), MINE, None),
        (GET, bearer(READER), THEIRS, Reason.PERMISSION_DENIED),
        (GET, bearer(ADMIN), THEIRS, Reason.PERMISSION_DENIED),
        (GET, bearer(READER), "projects/-/adapters/x", Reason.PERMISSION_DENIED),
        (GET, bearer(SUITE), THEIRS, None),
        (GET, bearer(SUITE), "projects/-/adapters/x", None),
        (CANCEL, bearer(READER), "", Reason.PERMISSION_DENIED),
        (CANCEL, bearer(TRAINER), "", None),
        # Only a key for all projects can name one that is not there, and what it only reads does no harm.
        (CANCEL, bearer(SUITE), "projects/nowhere/adapters/x", Reason.PROJECT_NOT_FOUND),
        (CANCEL, bearer(SUITE), THEIRS, None),
        (CANCEL, bearer(SUITE), "projects/-/adapters/x", None),
        (CANCEL, bearer(SUITE), "projects/A\0/adapters/x", None),
        (CANCEL, bearer(ADMIN), "projects/nowhere/adapters/x", Reason.PERMISSION_DENIED),
        (CANCEL, OWN, "projects/nowhere/adapters/x", None),
        (GET, bearer(SUITE), "projects/nowhere/adapters/x", None),
        (CREATE_BASE, bearer(ADMIN), "", Reason.PERMISSION_DENIED),
        (CREATE_BASE, bearer(SUITE), "", None),
        (INTROSPECT, bearer(SUITE), "", Reason.PERMISSION_DENIED),
        (INTROSPECT, OWN, "", None),
        (GET, OWN, THEIRS, None),
        (
            GET,
            {**OWN, "tenon-on-behalf-of": "projects/a/apiKeys/x", "tenon-for-project": "a"},
            THEIRS,
            Reason.PERMISSION_DENIED,
        ),
        ("/tenon.registry.v1.AdapterService/Unknown", bearer(SUITE), "", Reason.PERMISSION_DENIED),
    ],
)
async def test_who_may_do_what(
    guard: Guard, method: str, metadata: dict[str, str], resource: str, expected: Reason | None
) -> None:
    assert await reason(guard, method, metadata, resource) == expected


async def test_health_is_open_to_all(guard: Guard) -> None:
    async with guard.admit("/grpc.health.v1.Health/Check", {}, "somewhere") as admitted:
        assert admitted is None


async def test_the_call_is_on_its_caller_s_behalf(guard: Guard) -> None:
    async with guard.admit(GET, bearer(READER), "somewhere"):
        assert current_caller() is CALLERS[READER]
    assert current_caller() is not CALLERS[READER]


async def test_changes_and_attempts_are_written_down(guard: Guard, log: Log) -> None:
    name = "projects/a/trainingJobs/j"
    spoofed = {**bearer(TRAINER), "tenon-peer": "spoofed"}
    async with guard.admit(CANCEL, spoofed, "ipv4:1.2.3.4:5") as admitted:
        assert admitted is not None
        await admitted.check(training_job_pb2.CancelTrainingJobRequest(name=name))
    assert await reason(guard, CANCEL, bearer(READER)) is Reason.PERMISSION_DENIED
    with pytest.raises(KeyError):
        async with guard.admit(CANCEL, {**OWN, **bearer(TRAINER), "tenon-peer": "9.9.9.9:1"}, "the gateway"):
            raise KeyError
    with pytest.raises(asyncio.CancelledError):
        async with guard.admit(CANCEL, OWN, "the worker"):
            raise asyncio.CancelledError
    async with guard.admit(GET, bearer(READER), "somewhere"):
        pass
    told = [(entry.principal, entry.resource, entry.peer, entry.code) for entry in log.entries]
    assert told == [
        ("projects/a/apiKeys/trainer", name, "ipv4:1.2.3.4:5", "OK"),
        ("projects/a/apiKeys/reader", "", "ipv4:1.2.3.4:5", "PERMISSION_DENIED"),
        ("projects/a/apiKeys/trainer", "", "9.9.9.9:1", "INTERNAL"),
        ("services/worker", "", "the worker", "CANCELLED"),
    ]
    assert {entry.method for entry in log.entries} == {CANCEL}


async def test_what_is_written_down_can_be_kept(guard: Guard, log: Log) -> None:
    async with guard.admit(CANCEL, bearer(SUITE), "somewhere") as admitted:
        assert admitted is not None
        await admitted.check(training_job_pb2.CancelTrainingJobRequest(name="projects/a/\0\n" + "x" * 10_000))
    (entry,) = log.entries
    assert entry.resource == "projects/a/\ufffd\ufffd" + "x" * 499


async def test_nothing_is_changed_of_which_no_entry_could_be_kept(guard: Guard, log: Log) -> None:
    log.full = True
    assert await reason(guard, CANCEL, bearer(TRAINER)) is Reason.SERVICE_UNAVAILABLE
    assert await reason(guard, GET, bearer(TRAINER)) is None


async def test_parts_of_a_stream_are_looked_at_as_they_come(guard: Guard) -> None:
    async def parts() -> AsyncIterator[Message]:
        yield adapter_pb2.GetAdapterRequest(name=MINE)
        yield base_model_pb2.GetBaseModelRequest(name="baseModels/x")
        yield adapter_pb2.GetAdapterRequest(name=THEIRS)

    async with guard.admit(GET, bearer(READER), "somewhere") as admitted:
        assert admitted is not None
        checked = admitted.check_each(parts())
        seen = [(await anext(checked)).name for _ in range(2)]
        with pytest.raises(DomainError):
            await anext(checked)
    assert seen == [MINE, "baseModels/x"]


async def test_a_stream_ends_with_its_key(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    monkeypatch.setattr("services.common.auth.guard.RENEWAL_SECONDS", 0.0)
    valid = True

    async def ask(digest: str, project: str = "", /) -> Caller:
        if not valid:
            raise unauthenticated()
        return await introspect(digest, project)

    async with Guard(ask, TOKEN, log).admit(GET, bearer(READER), "somewhere") as admitted:
        assert admitted is not None
        await admitted.renew()
        valid = False
        with pytest.raises(DomainError) as caught:
            await admitted.renew()
    assert caught.value.reason is Reason.UNAUTHENTICATED
    async with Guard(ask, TOKEN, log).admit(GET, OWN, "somewhere") as service:
        assert service is not None
        await service.renew()


async def test_introspection_is_asked_once_and_again_after_a_while() -> None:
    asked = 0
    valid = True

    async def ask(digest: str, project: str = "", /) -> Caller:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        if not valid:
            raise unauthenticated()
        return await introspect(digest, project)

    remembered = RememberedIntrospection(ask, seconds=0.05)
    callers = await asyncio.gather(*(remembered(key_digest(READER)) for _ in range(5)))
    assert set(callers) == {CALLERS[READER]}
    assert asked == 1
    valid = False
    assert await remembered(key_digest(READER)) is CALLERS[READER]
    await asyncio.sleep(0.06)
    for _ in range(3):
        with pytest.raises(DomainError):
            await remembered(key_digest(READER))
    assert asked == 2


async def test_a_project_that_is_made_is_there_at_once() -> None:
    projects: set[str] = set()
    asked = []

    async def ask(digest: str, project: str = "", /) -> Caller:
        asked.append(project)
        if project not in projects:
            raise DomainError(Reason.PROJECT_NOT_FOUND, "There is none.")
        return await introspect(digest)

    remembered = RememberedIntrospection(ask, seconds=60)
    for _ in range(2):
        with pytest.raises(DomainError):
            await remembered(key_digest(SUITE), "new")
    projects.add("new")
    for _ in range(2):
        assert await remembered(key_digest(SUITE), "new") is CALLERS[SUITE]
    assert asked == ["new"] * 3


async def test_an_outage_is_not_remembered() -> None:
    down = True

    async def ask(digest: str, project: str = "", /) -> Caller:
        if down:
            raise DomainError(Reason.SERVICE_UNAVAILABLE, "down")
        return await introspect(digest, project)

    remembered = RememberedIntrospection(ask, seconds=60)
    with pytest.raises(DomainError):
        await remembered(key_digest(READER))
    down = False
    assert await remembered(key_digest(READER)) is CALLERS[READER]


def test_keys_are_long_random_and_known_by_how_they_begin() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(is_key(key) and key.startswith("tenon-") and len(key) == 46 for key in keys)
    assert len({key_prefix(key) for key in keys}) == 100
    assert not is_key("tenon-" + "a" * 39)
    assert not is_key("tenon-" + "a" * 40 + "\n")
