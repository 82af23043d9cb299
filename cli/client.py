"""The suite's REST API as the commands use it, and how they find the suite."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self

import httpx2

from cli.suite.options import default_data_dir
from services.common.errors import DomainError, Reason, Violation

DEFAULT_URL: Final = "http://127.0.0.1:8600"
CHUNK_BYTES: Final = 1024 * 1024

# A first answer may have to load a base; nothing else takes longer than seconds.
_TIMEOUT: Final = httpx2.Timeout(30.0, read=600.0)

Json = dict[str, Any]


def find_suite(data_directory: Path | None) -> str:
    """The URL of the running suite: ``TENON_URL``, else what the data directory says, else the default."""
    if url := os.environ.get("TENON_URL"):
        return url.rstrip("/")
    endpoints = (data_directory or default_data_dir()) / "run" / "endpoints.json"
    try:
        return str(json.loads(endpoints.read_text())["gateway"])
    except (OSError, ValueError, KeyError, TypeError):
        return DEFAULT_URL


def find_key(data_directory: Path | None, url: str) -> str | None:
    """The API key: ``TENON_API_KEY``, else, for the suite of the data directory and no other, the one in ``run/admin.key``."""
    if key := os.environ.get("TENON_API_KEY"):
        return key
    run = (data_directory or default_data_dir()) / "run"
    try:
        own = json.loads((run / "endpoints.json").read_text())["gateway"]
        return (run / "admin.key").read_text().strip() if url == own else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def connect(data_directory: Path | None) -> "Suite":
    """Connect to the running suite with the key that opens it."""
    url = find_suite(data_directory)
    return Suite(url, find_key(data_directory, url))


class Suite:
    """A connection to a suite's gateway. Every failure is a DomainError."""

    def __init__(self, url: str, key: str | None = None) -> None:
        """Connect with a key, to the project of ``TENON_PROJECT`` where the key is for several."""
        self.url = url
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        if project := os.environ.get("TENON_PROJECT"):
            headers["Tenon-Project"] = project
        self._http = httpx2.Client(base_url=url, timeout=_TIMEOUT, trust_env=False, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: str | int) -> Json:
        """GET a JSON object."""
        return self._call("GET", path, params=query)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Json:
        """POST a JSON object and read one back."""
        return self._call("POST", path, json=dict(body or {}))

    def put(self, path: str, body: Mapping[str, Any]) -> Json:
        """PUT a JSON object and read one back."""
        return self._call("PUT", path, json=dict(body))

    def upload(self, path: str, file: Path, fields: Mapping[str, str]) -> Json:
        """POST a file as a form, streamed from disk."""
        with _opened(file) as stream:
            return self._call("POST", path, data=dict(fields), files={"file": (file.name, stream)})

    def upload_files(self, path: str, files: Sequence[Path], fields: Mapping[str, str]) -> Json:
        """POST several files as a form, each under its own name, streamed from disk."""
        with ExitStack() as stack:
            parts = [("file", (file.name, stack.enter_context(_opened(file)))) for file in files]
            return self._call("POST", path, data=dict(fields), files=parts)

    def download(self, path: str) -> Iterator[bytes]:
        """GET bytes as they come."""
        with self._stream("GET", path) as response:
            yield from response.iter_bytes(CHUNK_BYTES)

    def listed(self, path: str) -> Iterator[Json]:
        """Every item of one of Tenon's own lists, page by page."""
        token = ""
        while True:
            page = self.get(path, page_size=500, page_token=token)
            yield from page["data"]
            token = page.get("next_page_token") or ""
            if not token:
                return

    def lines(self, path: str, file: Path, **query: str) -> Iterator[Json]:
        """POST a file's bytes and read JSON lines back as they come."""
        with _opened(file) as stream, self._stream("POST", path, params=query, content=_chunks(stream)) as response:
            for line in response.iter_lines():
                if line:
                    yield json.loads(line)

    def events(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Iterator[Json]:
        """Read server-sent events as they come, until the stream ends."""
        with self._stream(method, path, json=dict(body) if body else None) as response:
            for line in response.iter_lines():
                data = line.removeprefix("data:").strip()
                if not line.startswith("data:") or data == "[DONE]":
                    continue
                event = json.loads(data)
                if "error" in event and isinstance(event["error"], dict) and "code" in event["error"]:
                    raise _to_domain_error(event)
                yield event

    def _call(self, method: str, path: str, **arguments: Any) -> Json:
        with _reachable(self.url):
            response = self._http.request(method, path, **arguments)
        if response.is_error:
            raise _read_error(response)
        result: Json = response.json()
        return result

    @contextmanager
    def _stream(self, method: str, path: str, **arguments: Any) -> Iterator[httpx2.Response]:
        with _reachable(self.url), self._http.stream(method, path, **arguments) as response:
            if response.is_error:
                response.read()
                raise _read_error(response)
            yield response


@contextmanager
def _reachable(url: str) -> Iterator[None]:
    try:
        yield
    except httpx2.TransportError as error:
        raise DomainError(
            Reason.SERVICE_UNAVAILABLE,
            f"No suite answers at {url} ({error}). Start one with `tenon up`, or set TENON_URL to where it is.",
        ) from None


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        stream = file.open("rb")
    except OSError as error:
        raise DomainError(Reason.INVALID_ARGUMENT, f"Cannot read {file}: {error.strerror}.") from None
    with stream:
        yield stream


def _chunks(stream: Any) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def _read_error(response: httpx2.Response) -> DomainError:
    try:
        return _to_domain_error(response.json())
    except (ValueError, KeyError, TypeError):
        text = f"{response.url} answered {response.status_code}, which is not an answer of Tenon's gateway."
        return DomainError(Reason.SERVICE_UNAVAILABLE, f"{text} Is TENON_URL right?")


def _to_domain_error(body: Json) -> DomainError:
    error = body["error"]
    code = str(error.get("code") or "").upper()
    details = error.get("details") or {}
    violations = [Violation(v["field"], v["description"]) for v in details.get("violations", [])]
    reason = Reason(code) if code in Reason.__members__ else Reason.INTERNAL
    return DomainError(reason, str(error["message"]), details.get("metadata"), violations=violations)
