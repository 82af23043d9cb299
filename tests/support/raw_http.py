"""HTTP as bytes, for requests that no client would send."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """What came back: the status, the headers in lower case, and the bytes that followed."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The error's code, of an answer in OpenAI's shape."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        assert {"message", "type", "param", "code"} <= error.keys()
        assert error["message"]
        return str(error["code"])


@contextmanager
def connected(port: int, seconds: float = 20.0) -> Iterator[socket.socket]:
    """A connection to this machine on which nothing takes longer than so many seconds."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        yield connection


def head(method: str, path: str, key: str | None = None, **headers: str) -> bytes:
    """A request's line and headers, for JSON unless they say otherwise, to a server that shall close the connection afterwards."""
    authorization = {"Authorization": f"Bearer {key}"} if key else {}
    usual = {"Host": "x", "Connection": "close", "Content-Type": "application/json", **authorization}
    lines = {**usual, **{name.replace("_", "-"): value for name, value in headers.items()}}
    text = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return text.encode() + b"\r\n"


def send(port: int, *pieces: bytes) -> RawAnswer:
    """Send bytes, as many as are taken, and read what comes until the server closes."""
    with connected(port) as connection:
        with suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
        return answer_on(connection)


def answer_on(connection: socket.socket) -> RawAnswer:
    """Read an answer until the server closes, which it may do with a reset where it did not read all that was sent."""
    data = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            data += piece
    top, _, body = data.partition(b"\r\n\r\n")
    line, *lines = top.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return RawAnswer(int(line.split()[1]), headers, body)
