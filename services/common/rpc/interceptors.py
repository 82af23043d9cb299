"""What surrounds every call that a server answers, whatever its shape: errors, deadline, log line, metrics."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import grpc
import structlog
from grpc import aio
from opentelemetry import metrics

from services.common.auth.guard import Admitted, Guard
from services.common.errors import DomainError, Reason, to_status
from services.common.rpc.deadline import deadline_of_call
from services.common.telemetry import current_trace_id

STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"
"""Where gRPC carries a google.rpc.Status (https://grpc.io/docs/guides/error/)."""

# Asked every second or so by supervisors; a log line each would bury the others.
_QUIET: Final = ("/grpc.health.v1.", "/grpc.reflection.")

# The status line travels in headers, where peers allow 8 KiB by default.
_MAX_MESSAGE_CHARACTERS: Final = 2000

Context = aio.ServicerContext[Any, Any]
# Generic in its stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Found: TypeAlias = "Handler | None"
# The stubs type a handler's functions for the synchronous server only.
Behavior = Callable[..., Any]

Look = Callable[["Admitted | None", Any], Awaitable[Any]]

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class CallInterceptor(aio.ServerInterceptor):
    """Runs ``answering`` around each handler of the server, and the guard before it."""

    def __init__(self, guard: Guard | None = None) -> None:
        """Admit everybody where there is no guard."""
        self._guard = guard
        self._durations = metrics.get_meter(__name__).create_histogram(
            "rpc.server.duration", unit="s", description="How long calls took to answer."
        )

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Found]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Found:
        """Wrap the handler that was found; for a method that does not exist grpc itself answers UNIMPLEMENTED."""
        handler = await continuation(handler_call_details)
        return None if handler is None else self._wrap(handler, handler_call_details.method)

    def _wrap(self, handler: Handler, method: str) -> Handler:
        serializers = (handler.request_deserializer, handler.response_serializer)
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(self._unary(handler.unary_unary, method, _one), *serializers)
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(self._unary(handler.stream_unary, method, _each), *serializers)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(self._stream(handler.unary_stream, method, _one), *serializers)
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(
                self._stream(handler.stream_stream, method, _each), *serializers
            )
        return handler

    def _unary(self, behavior: Behavior, method: str, look: Look) -> Behavior:
        async def answer(request: Any, context: Context) -> Any:
            async with self._answering(method, context), self._admitted(method, context) as admitted:
                return await behavior(await look(admitted, request), context)

        return answer

    def _stream(self, behavior: Behavior, method: str, look: Look) -> Behavior:
        async def answer(request: Any, context: Context) -> AsyncIterator[Any]:
            async with self._answering(method, context), self._admitted(method, context) as admitted:
                async for response in behavior(await look(admitted, request), context):
                    if admitted is not None:
                        await admitted.renew()
                    yield response

        return answer

    @asynccontextmanager
    async def _admitted(self, method: str, context: Context) -> AsyncIterator[Admitted | None]:
        if self._guard is None:
            yield None
            return
        # Values that are no text are none of ours.
        pairs = context.invocation_metadata() or ()
        metadata = {key: value for key, value in pairs if isinstance(value, str)}
        async with self._guard.admit(method, metadata, context.peer()) as admitted:
            yield admitted

    @asynccontextmanager
    async def _answering(self, method: str, context: Context) -> AsyncIterator[None]:
        started = time.perf_counter()
        code = grpc.StatusCode.OK
        try:
            with deadline_of_call(context.time_remaining()):
                yield
        except DomainError as error:
            code = error.code
            await _abort(context, error)
        except (asyncio.CancelledError, GeneratorExit):  # the latter where a stream waited for its caller to read
            code = grpc.StatusCode.CANCELLED
            raise
        except aio.AbortError:
            raise
        except Exception:
            code = grpc.StatusCode.INTERNAL
            log.exception("call failed", method=method)
            await _abort(context, _internal_error())
        finally:
            self._record(method, code, time.perf_counter() - started)

    def _record(self, method: str, code: grpc.StatusCode, seconds: float) -> None:
        if method.startswith(_QUIET):
            return
        self._durations.record(seconds, {"rpc.method": method, "rpc.grpc.status_code": code.name})
        log.info("call answered", method=method, code=code.name, milliseconds=round(seconds * 1000, 1))


async def _one(admitted: Admitted | None, request: Any) -> Any:
    if admitted is not None:
        await admitted.check(request)
    return request


async def _each(admitted: Admitted | None, requests: Any) -> Any:
    return requests if admitted is None else admitted.check_each(requests)


async def _abort(context: Context, error: DomainError) -> None:
    details = to_status(error)
    await context.abort(
        error.code,
        error.message[:_MAX_MESSAGE_CHARACTERS],
        ((STATUS_DETAILS_KEY, details.SerializeToString()),),
    )


def _internal_error() -> DomainError:
    return DomainError(
        Reason.INTERNAL,
        "The service failed; its log has the details under this trace id.",
        {"trace_id": current_trace_id()},
    )
