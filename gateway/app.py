"""The REST application: its routes, and what surrounds them."""

import asyncio
from typing import Final

from fastapi import FastAPI

from gateway.auth import Authentication
from gateway.body_limit import BodyLimit, BodyRule, UnreadBody
from gateway.context import RequestContext
from gateway.errors import install_error_handlers
from gateway.openapi.document import DESCRIPTION, TAGS, openapi_document
from gateway.openapi.errors import ERRORS
from gateway.routes import (
    adapter_files,
    adapters,
    base_models,
    chat,
    completions,
    console,
    datasets,
    files,
    fine_tuning,
    health,
    iam,
    models,
    session,
    storage,
)
from gateway.services import Services
from gateway.session import sealer_of
from gateway.settings import GatewaySettings

# What is asked most often comes first: routes are tried one after another.
_ROUTERS: Final = (
    chat,
    completions,
    files,
    datasets,
    fine_tuning,
    models,
    base_models,
    adapters,
    adapter_files,
    storage,
    iam,
    session,
    health,
    console,
)


def create_app(services: Services) -> FastAPI:
    """Build the application over open services."""
    # No pages: FastAPI's load their scripts from elsewhere.
    app = FastAPI(
        title="Tenon",
        version="1",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        responses=ERRORS,
        redirect_slashes=False,
        # RequestContext traces and measures, with the request's id; both would make two traces of one request.
        telemetry={
            "auto_configure": False,
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
        },
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.services = services
    app.state.stopping = asyncio.Event()
    for module in _ROUTERS:
        app.include_router(module.router)
    install_error_handlers(app)
    settings = services.settings
    app.add_middleware(BodyLimit, rules=_body_rules(settings))
    sealer = sealer_of(settings)
    app.add_middleware(
        Authentication, introspect=services.introspect, key_of_session=None if sealer is None else sealer.key_of
    )
    app.add_middleware(RequestContext)
    app.add_middleware(UnreadBody)
    app.openapi = lambda: openapi_document(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


def _body_rules(settings: GatewaySettings) -> list[BodyRule]:
    stall = settings.http_stall_seconds
    return [
        BodyRule(f"{files.UPLOAD_PATH}|{datasets.CHECK_PATH}", settings.http_max_upload_bytes, stall),
        BodyRule(adapter_files.IMPORT_PATH, settings.http_max_adapter_bytes, stall),
        BodyRule("(?s:.*)", settings.http_max_body_bytes, settings.http_body_seconds, is_stream=False),
    ]
