"""The database's directory on disk: made whole or not at all, checked before use, freed from what a crash left."""

import asyncio
import os
import secrets
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli.suite.data_directory import incompatible, unusable
from cli.suite.files import sync_directory, write_atomically
from cli.suite.launcher import Identity, wrap
from cli.suite.logs import open_log, tail
from cli.suite.postgres.account import give, initdb_identity
from cli.suite.postgres.programs import MAJOR_VERSION, Programs
from services.common.errors import DomainError, Reason

USER: Final = "tenon"
INITDB_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """What lies in DIR/postgres.

    Attributes:
        home: DIR/postgres; only the user who runs the suite can enter it.
    """

    home: Path

    @property
    def data(self) -> Path:
        """Postgres's own data directory."""
        return self.home / "data"

    @property
    def password_file(self) -> Path:
        """The password of the one role."""
        return self.home / "password"

    def password(self) -> str:
        """Read the password.

        Raises:
            DomainError: DATA_DIRECTORY_UNUSABLE.
        """
        try:
            return self.password_file.read_text(encoding="ascii").strip()
        except OSError as error:
            raise unusable(self.password_file, f"the database's password cannot be read ({error.strerror})") from None

    def check(self, identity: Identity | None) -> None:
        """Make sure that this version's server can run on the data, as `identity`.

        Raises:
            DomainError: DATA_DIRECTORY_INCOMPATIBLE, or DATA_DIRECTORY_UNUSABLE.
        """
        try:
            version = (self.data / "PG_VERSION").read_text(encoding="ascii", errors="replace").strip()
            owner = self.data.stat().st_uid
        except OSError as error:
            raise unusable(self.data, f"its PG_VERSION cannot be read ({error.strerror})") from None
        if version != str(MAJOR_VERSION):
            raise incompatible(
                self.data,
                f"The database in {self.data} was made by PostgreSQL {version[:32]}; "
                f"this version of Tenon brings PostgreSQL {MAJOR_VERSION}.",
            )
        if owner != (os.geteuid() if identity is None else identity.uid):
            raise unusable(self.data, f"it belongs to uid {owner}")

    async def create(self, programs: Programs, identity: Identity | None, log: Path) -> None:
        """Make the database's files, if there are none yet, under a passing name that then becomes `data`.

        Raises:
            DomainError: PROCESS_FAILED, with the last lines of initdb's output.
        """
        self._clear_unfinished()
        if self.data.exists():
            return
        if not self.password_file.exists():
            write_atomically(self.password_file, f"{secrets.token_urlsafe(32)}\n")
        maker = initdb_identity(identity)
        pending = self.home / f".data-{secrets.token_hex(8)}"
        pending.mkdir(mode=0o700)
        if maker is not None:
            give(pending, maker)
        await self._initdb(programs, pending, maker, log)
        if identity is not None:
            give(pending, identity)
        pending.rename(self.data)
        sync_directory(self.home)

    def _clear_unfinished(self) -> None:
        for rest in self.home.glob(".data-*"):
            shutil.rmtree(rest, ignore_errors=True)

    async def _initdb(self, programs: Programs, target: Path, maker: Identity | None, log: Path) -> None:
        with reached(target, maker) as reach, _readable(f"{self.password()}\n", maker) as password:
            argv = [
                str(programs.initdb), "-D", reach.name, "-U", USER, f"--pwfile=/dev/fd/{password}",
                "--auth-local=reject", "--auth-host=scram-sha-256", "--encoding=UTF8",
                # Independent of the locales that this machine has, today and after its next upgrade.
                "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions",
            ]  # fmt: skip
            await _run(wrap(argv, death_signal=signal.SIGKILL, identity=maker), (*reach.pass_fds, password), log)


@dataclass(frozen=True, slots=True)
class Reach:
    """How a process of another user names a directory.

    Attributes:
        name: a path for its command line.
        pass_fds: descriptors it must inherit for that.
    """

    name: str
    pass_fds: tuple[int, ...] = ()


@contextmanager
def reached(directory: Path, identity: Identity | None) -> Iterator[Reach]:
    """Name `directory` so that `identity` reaches it even if it may not pass through the folders above it.

    Root opens the directory and hands the descriptor down; /proc/self/fd/N leads to it without a walk from the root.
    """
    if identity is None:
        yield Reach(str(directory))
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Reach(f"/proc/self/fd/{descriptor}", (descriptor,))
    finally:
        os.close(descriptor)


@contextmanager
def _readable(text: str, identity: Identity | None) -> Iterator[int]:
    # A short text waits in a pipe: no file that another user could read, no argument that everybody could.
    reading, writing = os.pipe()
    try:
        if identity is not None:
            os.fchown(reading, identity.uid, identity.gid)
        os.write(writing, text.encode())
        os.close(writing)
        yield reading
    finally:
        os.close(reading)


def environment() -> dict[str, str]:
    """Answer the environment of Postgres's programs: nothing of the caller's, which holds secrets, concerns them."""
    # Except what the Python in front of them (see `launcher`) may need to start at all.
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", **kept}


async def _run(argv: list[str], pass_fds: tuple[int, ...], log: Path) -> None:
    output = open_log(log)
    begin = os.fstat(output).st_size
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=pass_fds,
            start_new_session=True,
        )
    finally:
        os.close(output)
    try:
        status = await asyncio.wait_for(process.wait(), INITDB_SECONDS)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    if status != 0:
        raise DomainError(
            Reason.PROCESS_FAILED,
            f"initdb ended with exit status {status}. Its last lines ({log}):\n{tail(log, since=begin)}",
            {"process": "initdb", "log": str(log)},
        )
