"""What a call carries to say who makes it: written by clients, read by servers."""

import hmac
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Protocol

from pydantic import SecretStr

from services.common.auth.caller import ANYONE, Caller, Scope, current_caller

AUTHORIZATION: Final = "authorization"
SERVICE_TOKEN: Final = "tenon-service-token"  # noqa: S105  # the entry's name
SERVICE: Final = "tenon-service"
ON_BEHALF_OF: Final = "tenon-on-behalf-of"
FOR_PROJECT: Final = "tenon-for-project"
PEER: Final = "tenon-peer"
_BEARER: Final = "bearer "

Metadata = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Presented:
    """What somebody presents at the door.

    Attributes:
        key: an API key; never shown.
        peer: where they call from.
    """

    key: SecretStr
    peer: str


PRESENTED: Final[ContextVar[Presented | None]] = ContextVar("presented", default=None)
"""At the gateway: the key of the request at hand, which its calls carry on."""


class Credentials(Protocol):
    """Says who makes a call."""

    def metadata(self) -> Metadata:
        """What the call at hand carries."""


@dataclass(frozen=True, slots=True)
class ServiceCredentials:
    """A service's own: the suite's token, its name, and on whose behalf it calls."""

    name: str
    token: SecretStr

    def metadata(self) -> Metadata:
        """See `Credentials.metadata`."""
        own = [(SERVICE_TOKEN, self.token.get_secret_value()), (SERVICE, self.name)]
        caller = current_caller()
        if caller is ANYONE or (caller.is_service and caller.principal.startswith("services/")):
            return own
        acting = [(ON_BEHALF_OF, caller.principal)]
        return [*own, *acting, *([(FOR_PROJECT, caller.project)] if caller.project is not None else [])]


@dataclass(frozen=True, slots=True)
class KeyCredentials:
    """An API key of one's own, for clients that are no service."""

    key: SecretStr

    def metadata(self) -> Metadata:
        """See `Credentials.metadata`."""
        return [(AUTHORIZATION, f"Bearer {self.key.get_secret_value()}")]


@dataclass(frozen=True, slots=True)
class PassedOn:
    """The key of the gateway's own caller, vouched for by the gateway as to where it comes from."""

    token: SecretStr

    def metadata(self) -> Metadata:
        """See `Credentials.metadata`."""
        presented = PRESENTED.get()
        if presented is None:
            return []
        return [
            *KeyCredentials(presented.key).metadata(),
            (SERVICE_TOKEN, self.token.get_secret_value()),
            (PEER, presented.peer),
        ]


def bearer(header: str) -> str:
    """The token of an ``Authorization`` header; empty if it has none."""
    return header[len(_BEARER) :].strip() if header.lower().startswith(_BEARER) else ""


def is_service_token(metadata: Mapping[str, str], token: SecretStr) -> bool:
    """Whether a call carries the suite's token."""
    return hmac.compare_digest(metadata.get(SERVICE_TOKEN, "").encode(), token.get_secret_value().encode())


def service_of(metadata: Mapping[str, str]) -> Caller:
    """The service that a call comes from, or the key that it acts for. Only for calls that carry the suite's token."""
    own = f"services/{metadata.get(SERVICE, 'unknown')}"
    return Caller(
        principal=metadata.get(ON_BEHALF_OF, own),
        project=metadata.get(FOR_PROJECT),
        scopes=frozenset(Scope),
        is_service=True,
    )
