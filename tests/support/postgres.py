"""A real Postgres for tests: one server a session, one database a test module, and one server that may be stopped.

A conftest.py imports the fixtures it offers: ``from tests.support.postgres import postgres_server, postgres_url``.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg import sql

from cli.suite.launcher import Identity, wrap
from cli.suite.postgres.account import DEFAULT_UID, give, initdb_identity
from cli.suite.postgres.programs import Programs, installed_programs, shared_programs

# What a crash of the machine would lose is of no interest here.
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB", "max_connections=60")


def _programs() -> Programs:
    return shared_programs() if os.geteuid() == 0 else installed_programs()


def _account() -> Identity | None:
    """Whom it runs as: Postgres refuses to be root."""
    return initdb_identity(Identity(DEFAULT_UID, DEFAULT_UID)) if os.geteuid() == 0 else None


@dataclass
class PostgresServer:
    """A Postgres server below one directory, which can be stopped and started again on the same port."""

    root: Path
    port: int
    password: str = field(repr=False)
    _process: subprocess.Popen[bytes] | None = None

    @classmethod
    def create(cls) -> "PostgresServer":
        """Make a new cluster below /tmp, where every uid can reach it."""
        root = Path(tempfile.mkdtemp(prefix="tenon-pg-", dir="/tmp"))
        server = cls(root, _free_port(), secrets.token_hex(8))
        password_file = root / "password"
        password_file.write_text(server.password)
        account = _account()
        if account is not None:
            give(root, account)
        command: list[object] = [_programs().initdb, "-D", root / "data", "-U", "postgres", "--no-sync"]
        command += [f"--pwfile={password_file}", "--auth-local=reject", "--auth-host=scram-sha-256"]
        command += ["--encoding=UTF8", "--locale=C.UTF-8"]
        subprocess.run(_wrapped(command), check=True, capture_output=True, cwd="/")
        return server

    def url(self, database: str = "postgres") -> str:
        """Return where a database of this server is."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def kill(self) -> None:
        """Kill it as a crash would; what it runs notices and ends by itself."""
        if self._process is not None:
            children = psutil.Process(self._process.pid).children(recursive=True)
            self._process.kill()
            self._process.wait(30)
            psutil.wait_procs(children, timeout=30)
            self._process = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command: list[object] = [_programs().postgres, "-D", self.root / "data", "-h", "127.0.0.1", "-p", self.port]
        for setting in ("unix_socket_directories=", *_FAST):
            command += ["-c", setting]
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(_wrapped(command), stdout=log, stderr=log, cwd="/", start_new_session=True)
        deadline = time.monotonic() + 30
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.root / "log").read_text()[-2000:])
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop it as `tenon up` does, cutting off whoever is connected; harmless if it is not running."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # fast shutdown
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """Stop it and delete its files."""
        self.stop()
        shutil.rmtree(self.root)

    def create_database(self) -> str:
        """Make an empty database of a new name; return its URL."""
        name = f"test_{secrets.token_hex(6)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database, cutting off whoever is connected."""
        name = url.rpartition("/")[2]
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _wrapped(command: Sequence[object]) -> list[str]:
    """Run a program as the right user, and have it end with this process."""
    return wrap([str(word) for word in command], death_signal=signal.SIGINT, identity=_account())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


_SERVER = pytest.StashKey[PostgresServer]()


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> PostgresServer:
    """Return the session's server. Not for stopping: others use it too."""
    # Kept with the session, because each conftest that imports this fixture has one of its own.
    stash = request.config.stash
    if _SERVER not in stash:
        server = PostgresServer.create()
        request.config.add_cleanup(server.remove)
        server.start()
        stash[_SERVER] = server
    return stash[_SERVER]


@pytest.fixture(scope="module")
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """Return the URL of a fresh database, one a module."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(scope="module")
def stoppable_postgres() -> Iterator[PostgresServer]:
    """Return a running server of the module's own: its tests may stop and start it."""
    server = PostgresServer.create()
    try:
        server.start()
        yield server
    finally:
        server.remove()
