"""A model hub on this machine: as much of the hub's HTTP protocol as ``huggingface_hub`` uses to read repositories.

Model information with commit and siblings, tree listings, HEAD and GET of files with ETag, X-Repo-Commit,
Content-Length and Range. It can be told to break a download off in the middle, and it counts what it serves.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_INFO = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+?)(?:/revision/(?P<revision>[^/]+))?")
_TREE = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)")
_FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


@dataclass
class Hub:
    """What the hub holds and what it has done.

    Attributes:
        endpoint: for HF_ENDPOINT.
        repositories: name → commit → file name → contents; the last commit is ``main``.
        break_after: file name → number of bytes after which its next download breaks off, once.
        gated: repositories that nobody has been granted.
        served: ``METHOD path`` of every request.
        bytes_sent: contents sent, by file name.
    """

    endpoint: str = ""
    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    break_after: dict[str, int] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    served: list[str] = field(default_factory=list)
    bytes_sent: dict[str, int] = field(default_factory=dict)

    def push(self, repository: str, files: Mapping[str, bytes]) -> str:
        """Commit files to a repository and return the commit."""
        contents = json.dumps({name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())})
        commit = hashlib.sha1(f"{repository} {contents}".encode()).hexdigest()  # commits are SHA-1 on the hub
        commits = self.repositories.setdefault(repository, {})
        commits.pop(commit, None)
        commits[commit] = dict(files)
        return commit

    def push_directory(self, repository: str, directory: Path) -> str:
        """Commit the files of a directory."""
        return self.push(repository, {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()})

    def commit_of(self, repository: str, revision: str) -> str | None:
        """The commit that ``main`` or a commit names."""
        commits = self.repositories.get(repository, {})
        if revision == "main":
            return next(reversed(commits), None)
        return revision if revision in commits else None


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Serve an empty hub on a free port of the loopback interface."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(hub, self)

        def do_HEAD(self) -> None:
            _answer(hub, self)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it so
            del format, args

    return Handler


def _answer(hub: Hub, request: BaseHTTPRequestHandler) -> None:
    path = unquote(urlsplit(request.path).path)
    hub.served.append(f"{request.command} {path}")
    for pattern, answer in ((_FILE, _send_file), (_TREE, _send_tree), (_INFO, _send_info)):
        if found := pattern.fullmatch(path):
            repository = found["repo"]
            if repository in hub.gated:
                return _fail(request, HTTPStatus.FORBIDDEN, "GatedRepo")
            if repository not in hub.repositories:
                return _fail(request, HTTPStatus.NOT_FOUND, "RepoNotFound")
            commit = hub.commit_of(repository, found["revision"] or "main")
            if commit is None:
                return _fail(request, HTTPStatus.NOT_FOUND, "RevisionNotFound")
            return answer(hub, request, found, commit)
    return _fail(request, HTTPStatus.NOT_FOUND, "EntryNotFound")


def _send_info(hub: Hub, request: BaseHTTPRequestHandler, found: re.Match[str], commit: str) -> None:
    files = hub.repositories[found["repo"]][commit]
    siblings = [{"rfilename": name} for name in sorted(files)]
    _send_json(
        request, {"id": found["repo"], "modelId": found["repo"], "sha": commit, "siblings": siblings, "tags": []}
    )


def _send_tree(hub: Hub, request: BaseHTTPRequestHandler, found: re.Match[str], commit: str) -> None:
    files = hub.repositories[found["repo"]][commit]
    _send_json(
        request,
        [{"type": "file", "path": name, "size": len(data), "oid": _etag(data)} for name, data in sorted(files.items())],
    )


def _send_file(hub: Hub, request: BaseHTTPRequestHandler, found: re.Match[str], commit: str) -> None:
    name = found["file"]
    data = hub.repositories[found["repo"]][commit].get(name)
    if data is None:
        return _fail(request, HTTPStatus.NOT_FOUND, "EntryNotFound")
    start, end = _range(request.headers.get("Range"), len(data))
    partial = "Range" in request.headers
    request.send_response(HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK)
    request.send_header("ETag", f'"{_etag(data)}"')
    request.send_header("X-Repo-Commit", commit)
    request.send_header("Accept-Ranges", "bytes")
    request.send_header("Content-Length", str(end - start))
    if partial:
        request.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
    request.end_headers()
    if request.command == "GET":
        _send_bytes(hub, request, name, data[start:end])
    return None


def _send_bytes(hub: Hub, request: BaseHTTPRequestHandler, name: str, data: bytes) -> None:
    limit = hub.break_after.pop(name, None)
    sent = data if limit is None else data[:limit]
    request.wfile.write(sent)
    hub.bytes_sent[name] = hub.bytes_sent.get(name, 0) + len(sent)
    if limit is not None:
        request.close_connection = True  # before Content-Length is reached


def _range(header: str | None, size: int) -> tuple[int, int]:
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", header or "")
    if not found:
        return 0, size
    return int(found[1]), int(found[2]) + 1 if found[2] else size


def _etag(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # git's object id, as the hub's own ETags


def _send_json(request: BaseHTTPRequestHandler, document: Any) -> None:
    body = json.dumps(document).encode()
    request.send_response(HTTPStatus.OK)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if request.command == "GET":
        request.wfile.write(body)


def _fail(request: BaseHTTPRequestHandler, status: HTTPStatus, code: str) -> None:
    request.send_response(status)
    request.send_header("X-Error-Code", code)
    request.send_header("X-Error-Message", code)
    request.send_header("Content-Length", "0")
    request.end_headers()
