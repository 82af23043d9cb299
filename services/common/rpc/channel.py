"""One way to open a gRPC channel: tracing, typed errors, deadlines, limits, quick reconnection."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc
from google.rpc import status_pb2
from grpc import aio
from opentelemetry.instrumentation.grpc import aio_client_interceptors

from services.common.auth.credentials import Credentials
from services.common.errors import DomainError, Reason, from_status
from services.common.rpc.deadline import timeout_for_call
from services.common.rpc.interceptors import STATUS_DETAILS_KEY
from services.common.settings import MIB

DEFAULT_DEADLINE_SECONDS: Final = 30.0
"""Deadline of a call that states none: no call waits for ever."""

_PLAIN_REASONS: Final = {
    grpc.StatusCode.UNAVAILABLE: Reason.SERVICE_UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Reason.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED: Reason.CANCELLED,
    grpc.StatusCode.UNIMPLEMENTED: Reason.UNIMPLEMENTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Reason.LIMIT_EXCEEDED,
}
"""What a status without our ErrorInfo means: gRPC itself made it."""


def open_channel(
    target: str,
    *,
    max_message_bytes: int = 16 * MIB,
    credentials: Credentials | None = None,
    tls: grpc.ChannelCredentials | None = None,
) -> aio.Channel:
    """Open a channel to ``host:port``; calls on it raise DomainError, have a deadline, and carry credentials.

    Args:
        target: ``host:port``.
        max_message_bytes: largest message accepted or sent.
        credentials: what calls carry to say who makes them.
        tls: whom to believe, and what to show; None for plain text.

    A stream that is left before its end must be cancelled (``call.cancel()``); leaving the loop alone does not do it.
    """
    arguments = (target, credentials)
    # The first interceptor is the outermost: tracing must still see gRPC's own errors.
    interceptors = [
        _UnaryUnary(*arguments),
        _UnaryStream(*arguments),
        _StreamUnary(*arguments),
        _StreamStream(*arguments),
        *aio_client_interceptors(),  # type: ignore[no-untyped-call]  # ships no types
        _AwaitedUnaryUnary(),
        _AwaitedStreamUnary(),
    ]
    options = [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # A service that restarts is back within a second or two; the default would wait up to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]
    if tls is None:
        return aio.insecure_channel(target, options=options, interceptors=interceptors)
    return aio.secure_channel(target, tls, options=options, interceptors=interceptors)


def to_domain_error(error: aio.AioRpcError, target: str) -> DomainError:
    """The error the other side raised, or the one that says why it could not be reached."""
    details = dict(error.trailing_metadata() or ()).get(STATUS_DETAILS_KEY)
    if isinstance(details, bytes):
        known = from_status(status_pb2.Status.FromString(details))
        if known is not None:
            return known
    reason = _PLAIN_REASONS.get(error.code(), Reason.INTERNAL)
    retry_after = 1.0 if reason is Reason.SERVICE_UNAVAILABLE else None
    text = f"{target} answered {error.code().name}: {error.details()}"
    return DomainError(reason, text, {"target": target}, retry_after=retry_after)


@contextmanager
def _domain_errors(target: str) -> Iterator[None]:
    try:
        yield
    except aio.AioRpcError as error:
        raise to_domain_error(error, target) from None


class _Interceptor:
    def __init__(self, target: str, credentials: Credentials | None) -> None:
        self._target = target
        self._credentials = credentials

    def _completed(self, details: aio.ClientCallDetails) -> aio.ClientCallDetails:
        """With a deadline and with credentials."""
        timeout = timeout_for_call(details.timeout, DEFAULT_DEADLINE_SECONDS)
        metadata = details.metadata
        if self._credentials is not None:
            metadata = aio.Metadata(*(metadata or ()), *self._credentials.metadata())
        return aio.ClientCallDetails(details.method, timeout, metadata, details.credentials, details.wait_for_ready)

    async def _many(self, call: AsyncIterable[Any]) -> AsyncIterator[Any]:
        with _domain_errors(self._target):
            async for response in call:
                yield response


class _AwaitedUnaryUnary(aio.UnaryUnaryClientInterceptor):
    """Awaits the call itself, so that cancelling the caller cancels it; tracing awaits only its status, which does not."""

    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: aio.ClientCallDetails, request: Any
    ) -> Any:
        call = await continuation(client_call_details, request)
        await call
        return call


class _AwaitedStreamUnary(aio.StreamUnaryClientInterceptor):
    """The same for streamed requests."""

    async def intercept_stream_unary(
        self, continuation: Callable[..., Any], client_call_details: aio.ClientCallDetails, request_iterator: Any
    ) -> Any:
        call = await continuation(client_call_details, request_iterator)
        await call
        return call


class _UnaryUnary(_Interceptor, aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: aio.ClientCallDetails, request: Any
    ) -> Any:
        with _domain_errors(self._target):
            return await (await continuation(self._completed(client_call_details), request))


class _StreamUnary(_Interceptor, aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self, continuation: Callable[..., Any], client_call_details: aio.ClientCallDetails, request_iterator: Any
    ) -> Any:
        with _domain_errors(self._target):
            # Unlike for unary calls, grpc wants the call back here and not its response. It has ended well by now.
            return await continuation(self._completed(client_call_details), request_iterator)


class _UnaryStream(_Interceptor, aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: aio.ClientCallDetails, request: Any
    ) -> Any:
        return self._many(await continuation(self._completed(client_call_details), request))


class _StreamStream(_Interceptor, aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: aio.ClientCallDetails, request_iterator: Any
    ) -> Any:
        return self._many(await continuation(self._completed(client_call_details), request_iterator))
