"""Projects, keys, the audit log, sessions and health."""

from typing import Final

from gateway.routes.health import Alive, Ready
from gateway.schemas.iam import ApiKey, AuditEvent, NewApiKey, Project
from gateway.schemas.session import Session, SessionEnded

_TIME: Final = "2026-03-02T09:14:07Z"

PROJECT: Final = Project(id="web-shop", display_name="The web shop", create_time=_TIME)

API_KEY: Final = ApiKey(
    id="key-4f0c1d2e3a5b",
    project="web-shop",
    display_name="the web shop",
    prefix="tenon-4f0c1d2e",
    scopes=["serve"],
    all_projects=False,
    requests_per_minute=600,
    tokens_per_minute=0,
    creator="projects/default/apiKeys/admin",
    create_time=_TIME,
    expire_time=None,
    revoke_time=None,
)

NEW_API_KEY: Final = NewApiKey(**API_KEY.model_dump(), secret="tenon-…, 40 characters after the hyphen")  # noqa: S106  # none

AUDIT_EVENT: Final = AuditEvent(
    sequence=118,
    time=_TIME,
    principal="projects/web-shop/apiKeys/key-4f0c1d2e3a5b",
    project="web-shop",
    method="/tenon.registry.v1.AdapterService/UpdateAlias",
    resource="projects/web-shop/adapters/wukong/aliases/stable",
    peer="192.0.2.7:52114",
    code="OK",
)

SESSION: Final = Session(
    principal="projects/web-shop/apiKeys/key-4f0c1d2e3a5b",
    project="web-shop",
    scopes=["serve"],
    prefix="tenon-4f0c1d2e",
)

SESSION_ENDED: Final = SessionEnded()
ALIVE: Final = Alive()
READY: Final = Ready()
