"""The suite's Postgres, for a program that is no service: the one that runs, or one started for the time."""

import asyncio
import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import psycopg
from psycopg import Connection
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier, Literal

from cli.suite.data_directory import DataDirectory
from cli.suite.launcher import wrap
from cli.suite.leftovers import end_services
from cli.suite.ports import LOOPBACK, free_ports
from cli.suite.postgres.cluster import USER, Cluster, environment
from cli.suite.postgres.lock_file import ready_port
from cli.suite.postgres.programs import client_program
from cli.suite.postgres.server import DATABASE, embedded_postgres
from cli.suite.supervisor import running
from services.common.db.failures import driver_errors
from services.common.errors import DomainError, Reason

READY_SECONDS: Final = 30.0
"""A suite that has the lock may still be starting its Postgres."""

QUOTED_BYTES: Final = 2000
RESTORER: Final = "tenon_restore"
"""The role that a dump is read with: none that may run programs or read files."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where the database is."""

    port: int
    password: str = field(repr=False)

    @contextmanager
    def connected(self, *, autocommit: bool = False) -> Iterator["Connection[TupleRow]"]:
        """Connect inside the block; without `autocommit` it is one transaction.

        Raises:
            DomainError: DATABASE_UNAVAILABLE, and the others of `driver_errors`.
        """
        with driver_errors():
            conninfo = make_conninfo(self._conninfo(USER), password=self.password, connect_timeout=10)
            with psycopg.connect(conninfo, autocommit=autocommit) as connection:
                yield connection

    @contextmanager
    def dumping(self, snapshot: str) -> Iterator[IO[bytes]]:
        """Have the dump of a snapshot, whose transaction is open, to read inside the block, to its end.

        Raises:
            DomainError: PROCESS_FAILED.
        """
        options = ("--format=custom", f"--snapshot={snapshot}", "--no-owner", "--no-privileges")
        with self._client("pg_dump", USER, self.password, options, stdout=subprocess.PIPE) as process:
            if process.stdout is None:
                raise RuntimeError("pg_dump was started without a pipe")
            yield process.stdout

    def restore(self, dump: Path) -> None:
        """Fill the empty database with a dump, with no more rights than that takes.

        Raises:
            DomainError: PROCESS_FAILED.
        """
        password = secrets.token_urlsafe(32)
        role, database = Identifier(RESTORER), Identifier(DATABASE)
        with self.connected() as connection:
            connection.execute(SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, Literal(password)))
            connection.execute(SQL("ALTER DATABASE {} OWNER TO {}").format(database, role))
        options = ("--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges", str(dump))
        with self._client("pg_restore", RESTORER, password, options, stdout=subprocess.DEVNULL):
            pass
        with self.connected() as connection:
            connection.execute(SQL("REASSIGN OWNED BY {} TO {}").format(role, Identifier(USER)))
            connection.execute(SQL("DROP ROLE {}").format(role))

    def _conninfo(self, user: str) -> str:
        return make_conninfo(host=LOOPBACK, port=self.port, user=user, dbname=DATABASE)

    @contextmanager
    def _client(
        self, name: str, user: str, password: str, options: tuple[str, ...], *, stdout: int
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a client program beside the block; when the block has ended, so must it, and well."""
        argv = [str(client_program(name)), "--no-password", f"--dbname={self._conninfo(user)}", *options]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                wrap(argv, death_signal=signal.SIGKILL),
                env={**environment(), "PGPASSWORD": password},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=errors,
                start_new_session=True,  # Ctrl-C in a terminal is for this program alone
            )
            with process:
                try:
                    yield process
                    status = process.wait()
                finally:
                    with suppress(ProcessLookupError):
                        process.kill()
            if status != 0:
                errors.seek(max(0, os.fstat(errors.fileno()).st_size - QUOTED_BYTES))
                said = errors.read().decode("utf-8", "replace").strip()
                text = f"{name} ended with exit status {status}: {said}"
                raise DomainError(Reason.PROCESS_FAILED, text, {"process": name})


@contextmanager
def server_of(directory: DataDirectory, configured_uid: int) -> Iterator[Server]:
    """Have the directory's server inside the block, whether its suite runs or not.

    Raises:
        DomainError: DATABASE_UNAVAILABLE, or what `embedded_postgres` raises.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(directory.locked())
        except DomainError as error:
            if error.reason is not Reason.DATA_DIRECTORY_IN_USE:
                raise
            server = _running_server(directory)
        else:
            server = stack.enter_context(server_alone(directory, configured_uid))
        yield server


@contextmanager
def server_alone(directory: DataDirectory, configured_uid: int) -> Iterator[Server]:
    """Run Postgres without the services inside the block; the caller holds the directory's lock.

    Raises:
        DomainError: DATA_DIRECTORY_INCOMPATIBLE, DATA_DIRECTORY_UNUSABLE, or PROCESS_FAILED.
    """
    # The loop stands still inside the block, and its end cancels the task that has the server, which stops it.
    with asyncio.Runner() as runner:
        server, _task = runner.run(_started(directory, configured_uid))
        yield server


async def _started(directory: DataDirectory, configured_uid: int) -> tuple[Server, "asyncio.Task[None]"]:
    ready: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(_serve(directory, configured_uid, ready))
    waited: set[asyncio.Future[Any]] = {task, ready}
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    return ready.result(), task


async def _serve(directory: DataDirectory, configured_uid: int, ready: "asyncio.Future[Server]") -> None:
    await end_services(directory.mark)
    (port,) = free_ports(1)
    async with (
        embedded_postgres(directory, port=port, configured_uid=configured_uid) as postgres,
        running([postgres.process()], directory.logs, asyncio.Event()) as supervisor,
    ):
        ready.set_result(Server(port, postgres.cluster.password()))
        await supervisor.watch()


def _running_server(directory: DataDirectory) -> Server:
    cluster = Cluster(directory.postgres)
    deadline = time.monotonic() + READY_SECONDS
    while (port := ready_port(cluster.data)) is None:
        if time.monotonic() > deadline:
            text = f"The suite on {directory.root} runs, but its Postgres is not ready. Try again once it is."
            raise DomainError(Reason.DATABASE_UNAVAILABLE, text)
        time.sleep(0.1)
    return Server(port, cluster.password())
