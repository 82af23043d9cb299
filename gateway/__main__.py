"""The gateway: ``python -m gateway``."""

import asyncio
import sys

from gateway.app import create_app
from gateway.server import listen_on, serve
from gateway.services import open_services
from gateway.settings import GatewaySettings
from services.common.errors import DomainError
from services.common.telemetry import telemetry

EXIT_UNUSABLE = 2


async def run(settings: GatewaySettings) -> None:
    """Serve until SIGINT or SIGTERM."""
    bound = listen_on(settings.listen)
    async with open_services(settings) as services:
        await serve(create_app(services), bound, settings)


def main() -> None:
    """Read the settings and run; what cannot start says why in one sentence."""
    try:
        settings = GatewaySettings.load()
        with telemetry("tenon-gateway", settings):
            asyncio.run(run(settings))
    except DomainError as error:
        print(f"tenon-gateway: {error.message}", file=sys.stderr)  # noqa: T201  # for whoever started it by hand
        sys.exit(EXIT_UNUSABLE)


if __name__ == "__main__":
    main()
