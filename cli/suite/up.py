"""`tenon up`: the suite on one machine, in the foreground, from the first signal of life to the last."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from cli.suite.data_directory import DataDirectory, open_data_directory
from cli.suite.endpoints import published
from cli.suite.keys import SuiteKeys, prepare_keys
from cli.suite.leftovers import end_services
from cli.suite.options import UpOptions
from cli.suite.ports import claim, free_ports
from cli.suite.postgres.server import embedded_postgres
from cli.suite.process import ProcessSpec
from cli.suite.services import Addresses, addresses, service_processes
from cli.suite.supervisor import running

__all__ = ["UpOptions", "run_suite"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Compose = Callable[[DataDirectory, Addresses, str, SuiteKeys], Sequence[ProcessSpec]]


@dataclass(frozen=True, slots=True)
class StopRequests:
    """What the person asked for: to stop, and, having asked twice, to hurry."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)

    def receive(self) -> None:
        """Take one signal."""
        (self.hurry if self.stop.is_set() else self.stop).set()


async def run_suite(options: UpOptions, announce: Callable[[str], None], compose: Compose = service_processes) -> int:
    """Run the suite until SIGINT, SIGTERM or SIGHUP; must be called in the main thread.

    Args:
        options: where.
        announce: called once with a line for the person, when all is ready.
        compose: describes the processes beside Postgres.

    Returns:
        The command's exit status.

    Raises:
        DomainError: DATA_DIRECTORY_INCOMPATIBLE, DATA_DIRECTORY_UNUSABLE, DATA_DIRECTORY_IN_USE, KEY_INVALID,
            PORT_IN_USE, or PROCESS_FAILED. Everything that had started is stopped by then.
    """
    with _stop_requests() as requests:
        suite = asyncio.create_task(_run(options, announce, compose, requests))
        stop = asyncio.create_task(requests.stop.wait())
        try:
            await asyncio.wait({suite, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            suite.cancel()
            await asyncio.wait({suite})
        with suppress(asyncio.CancelledError):
            suite.result()
    return 0


async def _run(options: UpOptions, announce: Callable[[str], None], compose: Compose, requests: StopRequests) -> None:
    directory = open_data_directory(options.data_dir)
    with directory.locked():
        directory.forget_last_run()
        await end_services(directory.mark)
        keys = prepare_keys(directory, options)
        gateway = claim(options.listen)
        database_port, *service_ports = free_ports(4, but=gateway.port)
        at = addresses(gateway, service_ports)
        async with embedded_postgres(directory, port=database_port, configured_uid=options.postgres_uid) as postgres:
            specs = [postgres.process(), *compose(directory, at, postgres.url(), keys)]
            async with (
                running(specs, directory.logs, requests.hurry) as supervisor,
                published(directory.endpoints, at.as_endpoints()),
            ):
                announce(f"tenon is ready at http://{at.gateway} (data in {directory.root})")
                await supervisor.watch()


@contextmanager
def _stop_requests() -> Iterator[StopRequests]:
    requests = StopRequests()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, requests.receive)
    try:
        yield requests
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
