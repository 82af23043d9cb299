"""Starting, stopping and asking the S3 server of the tests."""

import socket
import subprocess
import sys
from pathlib import Path

from minio import Minio

from services.common.artifacts.s3 import S3Server
from tests.support.s3.configuration import ACCESS_KEY, REGION, SECRET_KEY

REPOSITORY = Path(__file__).parents[3]


class S3Process:
    """One S3 server with its data in `root`, on a port that stays its own over restarts."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._port = _free_port()
        self._process: subprocess.Popen[str] | None = None

    @property
    def endpoint(self) -> str:
        """host:port, as clients want it."""
        return f"127.0.0.1:{self._port}"

    def server(self, *, read_seconds: float = 20.0, retries: int = 1) -> S3Server:
        """Return how the store under test reaches this server."""
        return S3Server(
            self.endpoint, ACCESS_KEY, SECRET_KEY, REGION, secure=False, read_seconds=read_seconds, retries=retries
        )

    def client(self) -> Minio:
        """Return a client of its own, to look at and to tamper with what is stored."""
        return self.server().client()

    def start(self) -> None:
        """Start the process and wait until it listens."""
        self._root.mkdir(parents=True, exist_ok=True)
        log = self._root / "log"
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.s3.server", str(self._root), str(self._port)],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            self.stop()
            raise RuntimeError(f"The S3 server did not start:\n{log.read_text()[-2000:]}")

    def stop(self) -> None:
        """End the process; what it has acknowledged stays in `root`."""
        if self._process is not None:
            self._process.kill()  # there is nothing it would have to finish, and this is what a failing server does
            self._process.communicate()
            self._process = None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
