"""A meter on the line to the S3 server: everything that the server sends is counted, and passed on unchanged."""

import socket
import threading
from contextlib import suppress
from typing import Self


class Meter:
    """Listens on a port of its own and connects every client to the server; a context manager that stops."""

    def __init__(self, endpoint: str) -> None:
        host, _, port = endpoint.rpartition(":")
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._sent = 0

    @property
    def endpoint(self) -> str:
        """host:port, as clients want it."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def sent(self) -> int:
        """Bytes that the server has sent, headers included."""
        with self._lock:
            return self._sent

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                with self._lock:
                    self._sent += len(data) * counted
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
