"""``/v1/session``: the console's way in, by a key, and out."""

from fastapi import APIRouter, Request, Response

from gateway.schemas.session import LogIn, Session, SessionEnded
from gateway.services import ServicesOf
from gateway.session import COOKIE, LIFETIME_SECONDS, refuse_other_sites, sealer_of
from services.common.auth.caller import ANYONE, Caller, current_caller
from services.common.auth.credentials import PRESENTED
from services.common.auth.guard import unauthenticated
from services.common.auth.keys import is_key, key_digest, key_prefix

router = APIRouter(tags=["Access"])


@router.post("/v1/session")
async def log_in(body: LogIn, request: Request, response: Response, services: ServicesOf) -> Session:
    """Begin a session: the key is kept in a cookie that scripts cannot read, for twelve hours."""
    refuse_other_sites(request.method, request.headers, browser_only=True)
    sealer = sealer_of(services.settings)
    if services.introspect is None or sealer is None:
        return _session(ANYONE, None)
    key = body.api_key.get_secret_value()
    if not is_key(key):
        raise unauthenticated()
    caller = await services.introspect(key_digest(key))
    _set_cookie(request, response, sealer.seal(key), LIFETIME_SECONDS)
    return _session(caller, key)


@router.get("/v1/session")
async def get_session(services: ServicesOf) -> Session:
    """Say who sends the request, be it by a session or by a key."""
    presented = PRESENTED.get() if services.introspect is not None else None
    return _session(current_caller(), presented.key.get_secret_value() if presented else None)


@router.delete("/v1/session")
async def log_out(request: Request, response: Response) -> SessionEnded:
    """End the session. The key stays what it is; ``revoke`` ends that."""
    refuse_other_sites(request.method, request.headers, browser_only=True)
    _set_cookie(request, response, "", 0)
    return SessionEnded()


def _set_cookie(request: Request, response: Response, value: str, seconds: int) -> None:
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, value, max_age=seconds, path="/", secure=secure, httponly=True, samesite="strict")


def _session(caller: Caller, key: str | None) -> Session:
    return Session(
        principal=caller.principal,
        project=caller.project,
        scopes=sorted(scope.value for scope in caller.scopes),
        prefix=None if key is None else key_prefix(key),
    )
