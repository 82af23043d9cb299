"""Clients that go on asking a suite while parts of it are gone, and what they saw."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from tests.support.suite import RunningSuite

SAID = {"model": "tiny", "messages": [{"role": "user", "content": "Say 3"}], "max_tokens": 4}
ROWS = b'{"prompt": "a", "completion": "b"}\n' * 10
NEEDED_BY: Final[dict[str, list[tuple[str, str, dict[str, Any]]]]] = {
    "registry": [
        ("GET", "/v1/base_models", {}),
        ("GET", "/v1/adapters", {}),
        ("GET", "/v1/models", {}),
        ("GET", "/v1/projects", {}),
        ("GET", "/v1/api_keys", {}),
        ("POST", "/v1/chat/completions", {"json": SAID}),
    ],
    "trainer": [
        ("GET", "/v1/files", {}),
        ("GET", "/v1/fine_tuning/jobs", {}),
        ("POST", "/v1/files", {"data": {"purpose": "fine-tune"}, "files": {"file": ("rows.jsonl", ROWS)}}),
        ("POST", "/v1/datasets/check", {"content": ROWS}),
        ("POST", "/v1/training_jobs/plan", {"json": {"model": "tiny", "training_file": "data-1"}}),
    ],
    "inference": [
        ("GET", "/v1/loaded_models", {}),
        ("POST", "/v1/chat/completions", {"json": SAID}),
        ("POST", "/v1/chat/completions", {"json": {**SAID, "stream": True}}),
        ("POST", "/v1/models/tiny/load", {}),
    ],
}
"""Requests that are served only while a service is there."""


@dataclass
class Crowd:
    """Clients that ask for the same things again and again.

    Attributes:
        statuses: how often each was seen.
        faults: answers that should not have been.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def ask(self, http: httpx2.Client, method: str, path: str, arguments: dict[str, Any]) -> None:
        try:
            answer = http.request(method, path, **arguments)
        except httpx2.TransportError as error:
            self.faults.append(f"{method} {path}: {error!r}")
            return
        self.statuses[answer.status_code] += 1
        if answer.status_code == 503:
            told = answer.json()["error"]
            if not (
                answer.headers.get("retry-after") and told["type"] == "service_unavailable_error" and told["message"]
            ):
                self.faults.append(f"{method} {path}: {answer.text}")
        elif answer.status_code >= 500:
            self.faults.append(f"{method} {path}: {answer.status_code} {answer.text}")


@contextmanager
def crowd(suite: RunningSuite, asked: list[tuple[str, str, dict[str, Any]]]) -> Iterator[Crowd]:
    """Four clients, until the block ends."""
    seen, over = Crowd(), threading.Event()

    def ask() -> None:
        with client(suite) as http:
            while not over.is_set():
                for one in asked:
                    seen.ask(http, *one)
                    time.sleep(0.02)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()


def client(suite: RunningSuite) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {suite.key}"}
    return httpx2.Client(base_url=suite.endpoints["gateway"], headers=headers, timeout=60, trust_env=False)


def ready(http: httpx2.Client) -> Callable[[], bool]:
    return lambda: http.get("/readyz").status_code == 200
