"""What the driver says, in the words of the suite: psycopg's errors never leave this package."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
import structlog
from psycopg import errors

from services.common.errors import DomainError, Reason

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

RETRY_SECONDS: Final = 2.0
"""When a caller may come back: the pool tries to reconnect about once a second."""

_CONFLICT: Final = (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable)

# Two that psycopg files under InternalError: a primary that became a standby, and a session that Postgres ended.
_UNAVAILABLE: Final = (
    psycopg.OperationalError,
    errors.ReadOnlySqlTransaction,
    errors.IdleInTransactionSessionTimeout,
)


@contextmanager
def driver_errors() -> Iterator[None]:
    """Raise every psycopg or pool error of the block as a DomainError.

    Raises:
        DomainError: DATABASE_UNAVAILABLE with `retry_after`; DATABASE_CONFLICT; INTERNAL.
    """
    try:
        yield
    except _CONFLICT as error:
        message = "Another call changed the same rows at the same time, so this one was undone. Send it again."
        raise DomainError(Reason.DATABASE_CONFLICT, message, retry_after=0.1) from error
    except _UNAVAILABLE as error:
        raise unavailable() from error
    except psycopg.Error as error:
        log.exception("the database refused a statement")
        raise DomainError(Reason.INTERNAL, "The database refused a statement; the log has the details.") from error


def unavailable() -> DomainError:
    """Return the error for a server that does not answer.

    It cannot say that nothing was written: a connection that breaks while it commits leaves that open.
    """
    message = (
        "Postgres does not answer at the moment. Send the call again in a few seconds, "
        "with the same request_id where it changes something."
    )
    return DomainError(Reason.DATABASE_UNAVAILABLE, message, retry_after=RETRY_SECONDS)
