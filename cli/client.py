"""The suite's REST API as the commands use it, and how they find the suite."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self

import httpx2

from cli.names import advice
from cli.suite.options import default_data_dir
from cli.transfer import reading
from services.common.errors import DomainError, Reason, Violation

DEFAULT_URL: Final = "http://127.0.0.1:8600"
CHUNK_BYTES: Final = 1024 * 1024
PAGE: Final = 500
"""Items of a list to ask for at a time."""

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


_KEY_ADVICE: Final = "The command line takes it from TENON_API_KEY, else from the data directory of a suite on this machine (--data-dir)."


def connect(data_directory: Path | None, *, seconds: float | None = None) -> "Suite":
    """Connect to the running suite with the key that opens it; each answer may take so many seconds."""
    url = find_suite(data_directory)
    return Suite(url, find_key(data_directory, url), seconds=seconds)


class Suite:
    """A connection to a suite's gateway. Every failure is a DomainError."""

    def __init__(self, url: str, key: str | None = None, *, seconds: float | None = None) -> None:
        """Connect with a key, to the project of ``TENON_PROJECT`` where the key is for several.

        Args:
            url: of the gateway.
            key: an API key, or None.
            seconds: that any wait may take; None: as long as an answer takes that has to load a base.

        Raises:
            DomainError: SETTINGS_INVALID: key or project cannot be sent.
        """
        self.url = url
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        if project := os.environ.get("TENON_PROJECT"):
            headers["Tenon-Project"] = project
        for value in headers.values():
            if not (value.isascii() and value.isprintable()):
                text = "TENON_API_KEY or TENON_PROJECT has a character that none has. Set it to what was printed."
                raise DomainError(Reason.SETTINGS_INVALID, text)
        self._http = httpx2.Client(
            base_url=url, timeout=_TIMEOUT if seconds is None else seconds, trust_env=False, headers=headers
        )

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

    def delete(self, path: str) -> Json:
        """DELETE, and read what it answers."""
        return self._call("DELETE", path)

    def upload(self, path: str, file: Path, fields: Mapping[str, str]) -> Json:
        """POST a file as a form, streamed from disk."""
        with reading(file) as stream:
            return self._call("POST", path, data=dict(fields), files={"file": (file.name, stream)})

    def upload_files(self, path: str, files: Sequence[Path], fields: Mapping[str, str]) -> Json:
        """POST several files as a form, each under its own name, streamed from disk."""
        with ExitStack() as stack:
            parts = [("file", (file.name, stack.enter_context(reading(file)))) for file in files]
            return self._call("POST", path, data=dict(fields), files=parts)

    def download(self, path: str) -> Iterator[bytes]:
        """GET bytes as they come."""
        with self._stream("GET", path) as response:
            yield from response.iter_bytes(CHUNK_BYTES)

    def listed(self, path: str, *, limit: int | None = None, **query: str) -> Iterator[Json]:
        """Every item of one of Tenon's own lists, or the first so many, page by page."""
        token, left = "", limit
        while left is None or left > 0:
            page = self.get(path, page_size=min(left or PAGE, PAGE), page_token=token, **query)
            yield from page["data"]
            token = page.get("next_page_token") or ""
            if not token:
                return
            left = None if left is None else left - len(page["data"])

    def listed_as_openai(self, path: str, *, limit: int | None = None) -> Iterator[Json]:
        """Every item of one of OpenAI's lists, or the first so many, page by page."""
        after: dict[str, str] = {}
        left = limit
        while left is None or left > 0:
            page = self.get(path, limit=min(left or PAGE, PAGE), **after)
            yield from page["data"]
            if not page["has_more"]:
                return
            after = {"after": page["last_id"]}
            left = None if left is None else left - len(page["data"])

    def lines(self, path: str, file: Path, **query: str) -> Iterator[Json]:
        """POST a file's bytes and read JSON lines back as they come."""
        with reading(file) as stream, self._stream("POST", path, params=query, content=_chunks(stream)) as response:
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
                    raise to_domain_error(event)
                yield event

    def _call(self, method: str, path: str, **arguments: Any) -> Json:
        with _reachable(self.url):
            response = self._http.request(method, path, **arguments)
        if response.is_error:
            raise self._advised(_read_error(response))
        try:
            result: Json = response.json()
        except ValueError:
            raise _foreign(response) from None
        return result

    @contextmanager
    def _stream(self, method: str, path: str, **arguments: Any) -> Iterator[httpx2.Response]:
        with _reachable(self.url), self._http.stream(method, path, **arguments) as response:
            if response.is_error:
                response.read()
                raise self._advised(_read_error(response))
            yield response

    def _advised(self, error: DomainError) -> DomainError:
        """An error with what to do about it, where only the command line knows."""
        more = _KEY_ADVICE if error.reason is Reason.UNAUTHENTICATED else advice(self, error)
        return replaced(error, f"{error.message} {more}") if more else error


@contextmanager
def _reachable(url: str) -> Iterator[None]:
    try:
        yield
    except (httpx2.TransportError, httpx2.InvalidURL, UnicodeError) as error:  # the last of a host's name
        raise DomainError(
            Reason.SERVICE_UNAVAILABLE,
            f"No suite answers at {url} ({error}). Start one with `tenon up`, or set TENON_URL to where it is.",
        ) from None


def _chunks(stream: Any) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def _read_error(response: httpx2.Response) -> DomainError:
    try:
        return to_domain_error(response.json())
    except (ValueError, KeyError, TypeError):
        return _foreign(response)


def _foreign(response: httpx2.Response) -> DomainError:
    text = f"{response.url} answered {response.status_code}, which is not an answer of Tenon's gateway."
    return DomainError(Reason.SERVICE_UNAVAILABLE, f"{text} Is TENON_URL right?")


def replaced(error: DomainError, message: str) -> DomainError:
    """An error in other words."""
    return DomainError(
        error.reason, message, error.metadata, violations=error.violations, retry_after=error.retry_after
    )


def to_domain_error(body: Json) -> DomainError:
    """Read an error as REST writes it."""
    error = body["error"]
    code = str(error.get("code") or "").upper()
    details = error.get("details") or {}
    violations = [Violation(v["field"], v["description"]) for v in details.get("violations", [])]
    reason = Reason(code) if code in Reason.__members__ else Reason.INTERNAL
    return DomainError(reason, str(error["message"]), details.get("metadata"), violations=violations)
