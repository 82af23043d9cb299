"""The gateway's description of itself."""

from typing import Any

import pytest

from gateway.app import create_app
from gateway.services import open_services
from gateway.settings import GatewaySettings

NOWHERE = "127.0.0.1:1"


@pytest.fixture(scope="session")
async def document() -> dict[str, Any]:
    """The OpenAPI document; no service is there."""
    settings = GatewaySettings(registry_target=NOWHERE, trainer_target=NOWHERE, inference_target=NOWHERE)
    async with open_services(settings) as services:
        return create_app(services).openapi()
