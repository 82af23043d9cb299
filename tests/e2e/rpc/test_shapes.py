"""Errors, deadlines and health over a real server and channel, for each of the four shapes of RPC."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import pytest
import structlog.testing
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.common.errors import DomainError, Reason, Violation
from services.common.rpc.channel import open_channel
from services.common.rpc.deadline import SHAVE_SECONDS, timeout_for_call
from services.common.rpc.server import Service, running_server
from services.common.settings import ServerSettings
from tenon.trainer.v1 import dataset_pb2, dataset_pb2_grpc

NAME = "tenon.trainer.v1.DatasetService"
# Abstract in its stubs only: a method that is not there answers UNIMPLEMENTED.
Servicer: Any = dataset_pb2_grpc.DatasetServiceServicer
# Exists in its stubs only.
Stub: TypeAlias = "dataset_pb2_grpc.DatasetServiceAsyncStub"

ERROR = DomainError(
    Reason.DATASET_INVALID,
    "Row 3 is wrong — größer als erlaubt.",
    {"faults": "1"},
    violations=[Violation("line 3", "no output")],
    retry_after=2.5,
)


class Failing(Servicer):
    """Raises what it is given, in every shape."""

    def __init__(self, raised: Callable[[], BaseException]) -> None:
        self._raised = raised

    async def GetDataset(self, request: Any, context: Any) -> Any:
        raise self._raised()

    async def UploadDataset(self, request_iterator: Any, context: Any) -> Any:
        async for _ in request_iterator:
            pass
        raise self._raised()

    async def DownloadDataset(self, request: Any, context: Any) -> Any:
        yield dataset_pb2.DownloadDatasetResponse(chunk=b"first")
        raise self._raised()

    async def CheckDataset(self, request_iterator: Any, context: Any) -> Any:
        async for _ in request_iterator:
            yield dataset_pb2.CheckDatasetResponse()
        raise self._raised()


@asynccontextmanager
async def connected(servicer: object, **checks: Any) -> AsyncIterator[aio.Channel]:
    service = Service(dataset_pb2_grpc.add_DatasetServiceServicer_to_server, servicer, NAME)
    settings = ServerSettings(listen="127.0.0.1:0", drain_seconds=0.2)
    async with running_server(settings, [service], checks) as server, open_channel(server.address) as channel:
        yield channel


async def chunks() -> AsyncIterator[dataset_pb2.UploadDatasetRequest]:
    yield dataset_pb2.UploadDatasetRequest(chunk=b"x")


async def checks() -> AsyncIterator[dataset_pb2.CheckDatasetRequest]:
    yield dataset_pb2.CheckDatasetRequest(chunk=b"x")


async def unary_unary(stub: Stub) -> None:
    await stub.GetDataset(dataset_pb2.GetDatasetRequest())


async def stream_unary(stub: Stub) -> None:
    await stub.UploadDataset(chunks())


async def unary_stream(stub: Stub) -> None:
    received = [response.chunk async for response in stub.DownloadDataset(dataset_pb2.DownloadDatasetRequest())]
    pytest.fail(f"ended without an error after {received}")


async def stream_stream(stub: Stub) -> None:
    received = [response async for response in stub.CheckDataset(checks())]
    pytest.fail(f"ended without an error after {received}")


SHAPES = [unary_unary, stream_unary, unary_stream, stream_stream]


@pytest.mark.parametrize("call", SHAPES)
async def test_a_domain_error_arrives_as_it_was_raised(call: Any) -> None:
    async with connected(Failing(lambda: ERROR)) as channel:
        with pytest.raises(DomainError) as caught:
            await call(dataset_pb2_grpc.DatasetServiceStub(channel))
    got = caught.value
    assert (got.reason, got.message, got.metadata) == (ERROR.reason, ERROR.message, ERROR.metadata)
    assert (got.violations, got.retry_after) == (ERROR.violations, ERROR.retry_after)


@pytest.mark.parametrize("call", SHAPES)
async def test_any_other_exception_arrives_as_internal_without_its_text(call: Any) -> None:
    async with connected(Failing(lambda: ValueError("password=hunter2"))) as channel:
        with pytest.raises(DomainError) as caught:
            await call(dataset_pb2_grpc.DatasetServiceStub(channel))
    assert caught.value.reason is Reason.INTERNAL
    assert "hunter2" not in str(caught.value.message) + str(caught.value.metadata)


@pytest.mark.parametrize("call", SHAPES)
async def test_a_server_that_is_not_there_is_unavailable(call: Any) -> None:
    async with open_channel("127.0.0.1:1") as channel:
        with pytest.raises(DomainError) as caught:
            await call(dataset_pb2_grpc.DatasetServiceStub(channel))
    assert caught.value.reason is Reason.SERVICE_UNAVAILABLE
    assert caught.value.retry_after == 1.0


class Working(Servicer):
    """Answers in every shape; its streams go on until somebody leaves."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def GetDataset(self, request: Any, context: Any) -> Any:
        return dataset_pb2.GetDatasetResponse(dataset=dataset_pb2.Dataset(display_name="one"))

    async def UploadDataset(self, request_iterator: Any, context: Any) -> Any:
        size = sum([len(request.chunk) async for request in request_iterator])
        return dataset_pb2.UploadDatasetResponse(dataset=dataset_pb2.Dataset(size_bytes=size))

    async def DownloadDataset(self, request: Any, context: Any) -> Any:
        async for _ in self._endless():
            yield dataset_pb2.DownloadDatasetResponse(chunk=b"x")

    async def CheckDataset(self, request_iterator: Any, context: Any) -> Any:
        async for _ in self._endless():
            yield dataset_pb2.CheckDatasetResponse()

    async def _endless(self) -> AsyncIterator[None]:
        try:
            while True:
                yield
                await asyncio.sleep(0.01)
        finally:
            self.left.set()


async def test_answers_arrive_where_one_is_expected() -> None:
    async with connected(Working()) as channel:
        stub = dataset_pb2_grpc.DatasetServiceStub(channel)
        assert (await stub.GetDataset(dataset_pb2.GetDatasetRequest())).dataset.display_name == "one"
        assert (await stub.UploadDataset(chunks())).dataset.size_bytes == 1


@pytest.mark.parametrize("shape", ["unary_stream", "stream_stream"])
async def test_a_stream_can_be_left_at_any_time(shape: str) -> None:
    working = Working()
    async with connected(working) as channel:
        stub = dataset_pb2_grpc.DatasetServiceStub(channel)
        request = dataset_pb2.DownloadDatasetRequest()
        call: Any = stub.DownloadDataset(request) if shape == "unary_stream" else stub.CheckDataset(checks())
        received = 0
        async for _ in call:
            received += 1
            if received == 3:
                break
        call.cancel()
        await asyncio.wait_for(working.left.wait(), 5)
    assert received == 3


class Pouring(Servicer):
    """Sends more than its caller reads."""

    def __init__(self) -> None:
        self.sent = 0

    async def DownloadDataset(self, request: Any, context: Any) -> Any:
        while True:
            self.sent += 1
            yield dataset_pb2.DownloadDatasetResponse(chunk=b"x" * 2**20)


async def test_a_caller_that_leaves_a_full_stream_cancelled_its_call() -> None:
    pouring = Pouring()
    with structlog.testing.capture_logs() as logs:
        async with connected(pouring) as channel:
            call = dataset_pb2_grpc.DatasetServiceStub(channel).DownloadDataset(dataset_pb2.DownloadDatasetRequest())
            sent = -1
            while sent != pouring.sent:  # until it waits for the caller to read
                sent = pouring.sent
                await asyncio.sleep(0.2)
            call.cancel()
            async with asyncio.timeout(5):
                while not any(entry["event"] == "call answered" for entry in logs):
                    await asyncio.sleep(0.01)
    assert [entry["code"] for entry in logs if entry["event"] == "call answered"] == ["CANCELLED"]
    assert not any(entry["event"] == "call failed" for entry in logs)


class Waiting(Servicer):
    """Never answers; says when it was called and when its caller left."""

    def __init__(self) -> None:
        self.called = asyncio.Event()
        self.left = asyncio.Event()

    async def GetDataset(self, request: Any, context: Any) -> Any:
        await self._wait()

    async def UploadDataset(self, request_iterator: Any, context: Any) -> Any:
        await self._wait()

    async def _wait(self) -> None:
        self.called.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()


@pytest.mark.parametrize("call", [unary_unary, stream_unary])
async def test_a_caller_that_is_cancelled_cancels_its_call(call: Any) -> None:
    waiting = Waiting()
    async with connected(waiting) as channel:
        task = asyncio.create_task(call(dataset_pb2_grpc.DatasetServiceStub(channel)))
        await asyncio.wait_for(waiting.called.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(waiting.left.wait(), 5)


async def test_an_unknown_method_is_unimplemented() -> None:
    async with connected(Failing(lambda: ERROR)) as channel:
        call: Any = channel.unary_unary("/tenon.trainer.v1.DatasetService/Nonsense")
        with pytest.raises(DomainError) as caught:
            await call(b"")
    assert caught.value.reason is Reason.UNIMPLEMENTED


class Slow(Servicer):
    """Answers with the deadline that a call made on the caller's behalf would get, or never."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    async def GetDataset(self, request: dataset_pb2.GetDatasetRequest, context: Any) -> Any:
        if request.name == "wait":
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        # gRPC rounds a timeout up when it writes it down, so what is left is asked for here, and not what the caller said.
        left = context.time_remaining()
        timeout = timeout_for_call(None, 1000.0)
        return dataset_pb2.GetDatasetResponse(dataset=dataset_pb2.Dataset(display_name=f"{timeout} {left}"))


async def test_the_callers_deadline_bounds_calls_made_on_its_behalf() -> None:
    async with connected(Slow()) as channel:
        stub = dataset_pb2_grpc.DatasetServiceStub(channel)
        response = await stub.GetDataset(dataset_pb2.GetDatasetRequest(), timeout=5)
    timeout, left = map(float, response.dataset.display_name.split())
    assert left < 5.5
    assert 0 < timeout <= left - SHAVE_SECONDS + 0.001  # two clocks


async def test_a_deadline_that_passes_stops_the_handler() -> None:
    slow = Slow()
    async with connected(slow) as channel:
        stub = dataset_pb2_grpc.DatasetServiceStub(channel)
        with pytest.raises(DomainError) as caught:
            await stub.GetDataset(dataset_pb2.GetDatasetRequest(name="wait"), timeout=0.2)
        await asyncio.wait_for(slow.cancelled.wait(), 5)
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED


async def test_health_follows_the_checks() -> None:
    broken = asyncio.Event()

    async def check() -> None:
        if broken.is_set():
            raise DomainError(Reason.DATABASE_UNAVAILABLE, "gone")

    async def until(channel: aio.Channel, name: str, status: int) -> None:
        async with asyncio.timeout(10):
            stub = health_pb2_grpc.HealthStub(channel)
            while (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status != status:
                await asyncio.sleep(0.02)

    async with connected(Slow(), database=check) as channel:
        for name in ("", NAME):
            await until(channel, name, health_pb2.HealthCheckResponse.SERVING)
        broken.set()
        for name in ("", NAME):
            await until(channel, name, health_pb2.HealthCheckResponse.NOT_SERVING)
        broken.clear()
        await until(channel, "", health_pb2.HealthCheckResponse.SERVING)


async def test_reflection_names_the_services() -> None:
    async def requests() -> AsyncIterator[Any]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")

    async with connected(Slow()) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        answers = [answer async for answer in stub.ServerReflectionInfo(requests())]
    assert NAME in {service.name for service in answers[0].list_services_response.service}


async def test_a_message_over_the_limit_is_refused() -> None:
    async with connected(Slow()) as channel:
        stub = dataset_pb2_grpc.DatasetServiceStub(channel)
        with pytest.raises(DomainError) as caught:
            await stub.GetDataset(dataset_pb2.GetDatasetRequest(name="x" * 17 * 1024 * 1024))
    assert caught.value.reason is Reason.LIMIT_EXCEEDED


async def test_a_port_that_is_taken_is_named() -> None:
    service = Service(dataset_pb2_grpc.add_DatasetServiceServicer_to_server, Slow(), NAME)
    async with running_server(ServerSettings(listen="127.0.0.1:0"), [service], {}) as first:
        with pytest.raises(DomainError) as caught:
            async with running_server(ServerSettings(listen=first.address), [service], {}):
                pass
    assert caught.value.reason is Reason.PORT_IN_USE
    assert first.address in caught.value.message


async def test_stopping_lets_calls_end() -> None:
    class Steady(Servicer):
        async def DownloadDataset(self, request: Any, context: Any) -> Any:
            for number in range(5):
                yield dataset_pb2.DownloadDatasetResponse(chunk=bytes([number]))
                await asyncio.sleep(0.05)

    service = Service(dataset_pb2_grpc.add_DatasetServiceServicer_to_server, Steady(), NAME)
    settings = ServerSettings(listen="127.0.0.1:0", drain_seconds=5)
    got: list[bytes] = []
    first = asyncio.Event()

    async def read(address: str) -> None:
        async with open_channel(address) as channel:
            stub = dataset_pb2_grpc.DatasetServiceStub(channel)
            async for response in stub.DownloadDataset(dataset_pb2.DownloadDatasetRequest()):
                got.append(response.chunk)
                first.set()

    async with running_server(settings, [service], {}) as server:
        reader = asyncio.create_task(read(server.address))
        await asyncio.wait_for(first.wait(), 5)
    await asyncio.wait_for(reader, 5)
    assert got == [bytes([number]) for number in range(5)]


async def test_a_plain_grpc_client_sees_the_standard_status() -> None:
    service = Service(dataset_pb2_grpc.add_DatasetServiceServicer_to_server, Failing(lambda: ERROR), NAME)
    async with (
        running_server(ServerSettings(listen="127.0.0.1:0"), [service], {}) as server,
        aio.insecure_channel(server.address) as channel,
    ):
        stub = dataset_pb2_grpc.DatasetServiceStub(channel)
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.GetDataset(dataset_pb2.GetDatasetRequest())
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == ERROR.message
