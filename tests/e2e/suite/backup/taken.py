"""A suite, backed up while it serves and while somebody writes to it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.client import Suite
from tests.support.suite import RunningSuite, wait_for

QUESTION = {
    "model": "parrot",
    "messages": [{"role": "user", "content": "Say 3"}],
    "temperature": 0,
    "max_tokens": 12,
    "logprobs": True,
}
PASSING = "passing-"
"""How the names of the data sets begin that come and go."""


@dataclass
class Taken:
    """A backup, and what the suite was when it was taken.

    Attributes:
        suite: that was backed up.
        archive: of it as it served.
        reader: a key that may read.
        revoked: a key that may do nothing any more.
        views: what the suite's lists were, by path.
        events: of the audit log, those from before the backup.
        all_events: those until after it as well.
        answer: to `QUESTION`.
    """

    suite: RunningSuite
    archive: Path
    reader: str
    revoked: str
    views: dict[str, Any]
    events: list[Any]
    all_events: list[Any]
    answer: Any


def lists(client: Suite) -> dict[str, Any]:
    """What a suite has, without what comes and goes."""
    found: dict[str, Any] = {
        path: list(client.listed(path))
        for path in ("/v1/adapters", "/v1/base_models", "/v1/projects", "/v1/api_keys", "/v1/adapters/parrot/versions")
    }
    found["/v1/adapters/parrot"] = client.get("/v1/adapters/parrot")
    jobs = client.get("/v1/fine_tuning/jobs", limit=100)["data"]
    found["/v1/fine_tuning/jobs"] = jobs
    for job in jobs:
        path = f"/v1/fine_tuning/jobs/{job['id']}/events"
        found[path] = client.get(path, limit=100)
    files = client.get("/v1/files", limit=1000)["data"]
    found["/v1/files"] = [file for file in files if not file["filename"].startswith(PASSING)]
    return found


def answer(client: Suite) -> Any:
    """What the adapter says, token by token."""
    choice = client.post("/v1/chat/completions", QUESTION)["choices"][0]
    return [token["token"] for token in choice["logprobs"]["content"]], choice["message"]["content"]


@dataclass
class Writer:
    """Uploads data sets and deletes them again, for as long as it is not stopped."""

    suite: RunningSuite
    folder: Path
    count: int = 1
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        there: list[str] = []
        with self.suite.client() as client:
            while not self.stop.is_set():
                file = self.folder / f"{PASSING}{self.count}.json"
                file.write_text(json.dumps([{"instruction": str(self.count), "output": "x" * self.count}] * 3))
                there.append(client.upload("/v1/files", file, {"purpose": "fine-tune"})["id"])
                if len(there) > 3:
                    client._call("DELETE", f"/v1/files/{there.pop(0)}")
                self.count += 1


@contextmanager
def writing(suite: RunningSuite, folder: Path) -> Iterator[Writer]:
    """Have a writer beside the block."""
    writer = Writer(suite, folder)
    thread = threading.Thread(target=writer.run)
    thread.start()
    try:
        wait_for(lambda: writer.count > 6, "a few uploads")
        yield writer
    finally:
        writer.stop.set()
        thread.join(30)


def take(suite: RunningSuite, root: Path) -> Taken:
    """Back up a suite that has an adapter `parrot`, while it is written to."""
    archive = root / "live.tar"
    with suite.client() as client:
        reader = client.post("/v1/api_keys", {"scopes": ["read"]})["secret"]
        revoked = client.post("/v1/api_keys", {"scopes": ["read"]})
        client.post(f"/v1/api_keys/{revoked['id']}/revoke")
        said, events = answer(client), list(client.listed("/v1/audit_events"))
        with writing(suite, root) as writer:
            before = writer.count
            succeeds(suite, "backup", archive)
            assert writer.count > before, "nothing was written meanwhile"
        views, all_events = lists(client), list(client.listed("/v1/audit_events"))
    return Taken(suite, archive, reader, revoked["secret"], views, events, all_events, said)


def succeeds(suite: RunningSuite, *arguments: str | Path) -> str:
    """Run a command that must succeed; answers what it printed."""
    ran = suite.tenon(*arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
