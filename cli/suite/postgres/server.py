"""The Postgres server as a process of the suite."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import psycopg
from psycopg import AsyncConnection, errors

from cli.suite.data_directory import DataDirectory, unusable
from cli.suite.launcher import Identity
from cli.suite.leftovers import end_postgres
from cli.suite.postgres.account import ROOT, give, server_identity
from cli.suite.postgres.cluster import USER, Cluster, Reach, environment, reached
from cli.suite.postgres.lock_file import remove_stale
from cli.suite.postgres.programs import installed_programs, shared_programs
from cli.suite.process import ProcessSpec, StopStep

DATABASE: Final = "tenon"
NAME: Final = "postgres"
CONNECT_SECONDS: Final = 2
RECOVERY_SECONDS: Final = 300.0
"""After a crash a server first replays its log, which may be long."""

# Fast shutdown rolls open transactions back; immediate shutdown leaves them to recovery at the next start.
_STOP: Final = (StopStep(signal.SIGINT, 15.0), StopStep(signal.SIGQUIT, 5.0))


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """A server that is ready to be started.

    Attributes:
        directory: the suite's.
        cluster: its files.
        port: on 127.0.0.1, where alone it listens.
        identity: whom it runs as; None: as the supervisor.
        program: the server's path.
        reach: how it names its data directory.
    """

    directory: DataDirectory
    cluster: Cluster
    port: int
    identity: Identity | None
    program: str
    reach: Reach

    def url(self, database: str = DATABASE) -> str:
        """Say where a database is, password included: for the environment of a child, never for a log."""
        return f"postgresql://{USER}:{quote(self.cluster.password(), safe='')}@127.0.0.1:{self.port}/{database}"

    def process(self) -> ProcessSpec:
        """Describe the server to the supervisor."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",  # a socket's path has at most 107 bytes, and TCP is enough
            "cluster_name": self.directory.mark,
            "logging_collector": "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return ProcessSpec(
            name=NAME,
            argv=(self.program, "-D", self.reach.name, *options),
            env=environment(),
            ready=self.is_ready,
            prepare=self.recover,
            ready_within=RECOVERY_SECONDS,
            stop=_STOP,
            death_signal=signal.SIGINT,
            identity=self.identity,
            pass_fds=self.reach.pass_fds,
        )

    async def recover(self) -> None:
        """End what is left of a server that was killed, so that another can start on the same files."""
        await end_postgres(self.directory.mark, os.geteuid() if self.identity is None else self.identity.uid)
        remove_stale(self.cluster.data)

    async def is_ready(self) -> bool:
        """Create the database if it is missing, and see that it answers."""
        try:
            await self._create_database()
            async with await AsyncConnection.connect(self.url(), connect_timeout=CONNECT_SECONDS) as connection:
                await connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    async def _create_database(self) -> None:
        maintenance = self.url("postgres")
        async with await AsyncConnection.connect(
            maintenance, autocommit=True, connect_timeout=CONNECT_SECONDS
        ) as connection:
            found = await connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE])
            if await found.fetchone() is None:
                try:
                    await connection.execute("CREATE DATABASE tenon")
                except errors.DuplicateDatabase:
                    return


@asynccontextmanager
async def embedded_postgres(
    directory: DataDirectory, *, port: int, configured_uid: int
) -> AsyncIterator[EmbeddedPostgres]:
    """Have the files of a server ready inside the block, made at the first start.

    Args:
        directory: locked by the caller.
        port: free, on 127.0.0.1.
        configured_uid: whom the server runs as if the caller is root.

    Raises:
        DomainError: DATA_DIRECTORY_INCOMPATIBLE, DATA_DIRECTORY_UNUSABLE, or PROCESS_FAILED.
    """
    cluster = Cluster(directory.postgres)
    identity = server_identity(cluster.data, configured_uid)
    programs = installed_programs() if identity is None else shared_programs()
    try:
        await cluster.create(programs, identity, directory.logs / f"{NAME}.log")
        if identity is not None and cluster.data.stat().st_uid == ROOT:
            give(cluster.data, identity)  # copied back by root, say from a backup
    except OSError as error:
        raise unusable(cluster.home, error.strerror or str(error)) from None
    cluster.check(identity)
    with reached(cluster.data, identity) as reach:
        yield EmbeddedPostgres(directory, cluster, port, identity, str(programs.postgres), reach)
