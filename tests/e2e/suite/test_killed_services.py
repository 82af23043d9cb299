"""Each part of a suite killed while it is being used: 503 with Retry-After in OpenAI's shape, said by /readyz, and over without help."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from tests.support.suite import RunningSuite, running_suite, wait_for
from tests.support.tiny_bases import make_tiny_base

SAID = {"model": "tiny", "messages": [{"role": "user", "content": "Say 3"}], "max_tokens": 4}
ROWS = b'{"prompt": "a", "completion": "b"}\n' * 10
NEEDED_BY: dict[str, list[tuple[str, str, dict[str, Any]]]] = {
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


@pytest.fixture(scope="module")
def harmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """A suite of this module's own."""
    root = tmp_path_factory.mktemp("killed")
    with running_suite(root / "data") as suite:
        assert suite.tenon("base", "add", make_tiny_base(root / "base"), "--name", "tiny").returncode == 0
        yield suite


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


@pytest.mark.parametrize("service", NEEDED_BY)
def test_what_is_killed_is_a_503_until_it_is_back(harmed: RunningSuite, service: str) -> None:
    with client(harmed) as http:
        wait_for(ready(http), "readiness")
        with crowd(harmed, NEEDED_BY[service]) as seen:
            wait_for(lambda: seen.statuses[200] > 8, "load")
            harmed.processes()[f"services.{service}"].kill()
            told = wait_for(lambda: not_ready(http), "news of it", 10)
            assert service in told
            wait_for(ready(http), "recovery")
            served = seen.statuses[200]
            wait_for(lambda: seen.statuses[200] > served + 8, "service")
    assert seen.faults == []
    assert seen.statuses[503] > 0


def not_ready(http: httpx2.Client) -> dict[str, str]:
    answer = http.get("/readyz")
    if answer.status_code == 200:
        return {}
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    metadata: dict[str, str] = answer.json()["error"]["details"]["metadata"]
    return metadata


def test_a_database_that_is_killed_is_a_503_until_it_is_back(harmed: RunningSuite) -> None:
    asked = [one for service in ("registry", "trainer") for one in NEEDED_BY[service] if one[0] == "GET"]
    with client(harmed) as http:
        wait_for(ready(http), "readiness")
        with crowd(harmed, asked) as seen:
            wait_for(lambda: seen.statuses[200] > 8, "load")
            harmed.processes()["postgres"].kill()
            wait_for(lambda: seen.statuses[503] > 0, "outage", 10)
            served = seen.statuses[200]
            wait_for(lambda: seen.statuses[200] > served + 8, "recovery")
    assert seen.faults == []


def test_a_store_that_vanishes_under_load_is_a_503_until_it_returns(harmed: RunningSuite) -> None:
    store, aside = harmed.data_dir / "artifacts", harmed.data_dir / "aside"
    upload = [one for one in NEEDED_BY["trainer"] if one[1] == "/v1/files" and one[0] == "POST"]
    different = [(method, path, {**more, "files": unseen_file()}) for method, path, more in upload]
    with client(harmed) as http, crowd(harmed, [("GET", "/v1/files", {})]) as seen:
        store.rename(aside)
        try:
            outage = Crowd()
            outage.ask(http, *different[0])
            assert outage.statuses == Counter({503: 1})
            assert outage.faults == []
        finally:
            aside.rename(store)
        wait_for(lambda: http.request(*different[0][:2], **different[0][2]).status_code == 200, "recovery")
    assert seen.faults == []
    assert set(seen.statuses) == {200}


def unseen_file() -> dict[str, tuple[str, bytes]]:
    """A file whose bytes the store does not have yet."""
    return {"file": ("rows.jsonl", b'{"prompt": "%d", "completion": "b"}\n' % time.time_ns())}
