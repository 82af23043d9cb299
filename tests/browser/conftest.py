"""One suite and one browser for all tests of the console, and what each page must never do."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from cli.client import Suite
from services.common.identity import fingerprint_base
from tests.support.suite import RunningSuite, running_suite, wait_for
from tests.support.tiny_bases import make_tiny_base

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"
MOST_PICTURE_BYTES = 150_000
WIDE = {"width": 1180, "height": 860}
PHONE = {"width": 375, "height": 740}
SLOW_MS = 30_000
expect.set_options(timeout=SLOW_MS)
HTML = "<img src=x onerror=alert(1)>"
"""What would run, were it ever taken for HTML."""

GOOD_ROWS = [{"instruction": f"Say {n}", "input": "", "output": f"It is {n}."} for n in range(60)]


def chromium() -> str:
    """The browser of this machine; playwright's own download is not used."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None and os.environ.get("TENON_TESTS_WITHOUT_BROWSER"):
        pytest.skip("TENON_TESTS_WITHOUT_BROWSER is set")
    if found is None:
        pytest.fail("There is no Chromium here. Install it: apt-get update && apt-get install chromium", pytrace=False)
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Root may not use the sandbox; the pages are our own.
        launched = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    root = tmp_path_factory.mktemp("console")
    bases = {"tiny-qwen": "qwen2", "tiny-gpt": "gpt2"}
    with ThreadPoolExecutor() as pool:
        # While the suite starts.
        made = {name: pool.submit(make_tiny_base, root / name, kind, seed=1) for name, kind in bases.items()}
        with running_suite(root / "data") as running, running.client() as client:
            for name, directory in made.items():
                add_base(client, name, directory.result())
            start_parrot(client, root / "parrot.json")
            yield running


def add_base(client: Suite, name: str, directory: Path) -> None:
    document = json.loads(fingerprint_base(directory).to_document())
    client.post("/v1/base_models", {"id": name, "sources": [f"file://{directory}"], "fingerprint_document": document})


def start_parrot(client: Suite, rows: Path) -> None:
    """Begin to train what `parrot` waits for; the tests before it need not."""
    rows.write_text(json.dumps([{**row, "output": HTML} for row in GOOD_ROWS[:12]]))
    file = client.upload("/v1/files", rows, {"purpose": "fine-tune"})["id"]
    settings = {"n_epochs": 12, "batch_size": 2, "learning_rate": 0.01}
    asked = {"model": "tiny-qwen", "training_file": file, "adapter": "parrot", "hyperparameters": settings}
    client.post("/v1/fine_tuning/jobs", asked)


@pytest.fixture(scope="module")
def parrot(suite: RunningSuite) -> str:
    """An adapter on tiny-qwen that answers with HTML, by its id; its `latest` is gated."""
    with suite.client() as client:

        def ended() -> bool:
            jobs = client.get("/v1/fine_tuning/jobs")["data"]
            return any(job["tenon"]["adapter"] == "parrot" and job["status"] == "succeeded" for job in jobs)

        wait_for(ended, "the parrot's training")
        client.put("/v1/adapters/parrot/aliases/latest", {"gated": True})
    return "parrot"


@dataclass
class Visit:
    """A page with what it did that no page may do."""

    page: Page
    url: str
    key: str
    expected: set[int] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def expect(self, *statuses: int) -> None:
        """Let the browser note answers with these statuses in its console, as it does for every refusal."""
        self.expected.update(statuses)

    def listen(self) -> None:
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        self.page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        refusals = [f"the server responded with a status of {status}" for status in self.expected]
        if message.type in {"error", "warning"} and not any(text in message.text for text in refusals):
            self.faults.append(f"{message.type}: {message.text}")

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:", f"blob:{self.url}")):
            self.faults.append(f"another host: {request.url}")

    def open(self, path: str = "") -> Page:
        self.page.goto(f"{self.url}/console/{path}")
        return self.page

    def log_in(self, path: str = "") -> Page:
        """Open a page with a session that was begun beforehand."""
        answer = self.page.request.post(f"{self.url}/v1/session", data={"api_key": self.key})
        assert answer.ok, answer.text()
        return self.open(path)

    def fits(self) -> bool:
        """Whether nothing is wider than the screen."""
        wide: bool = self.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        return wide

    def picture(self, name: str) -> None:
        """Take a picture for the documents, where they are asked for."""
        if not os.environ.get("TENON_PICTURES"):
            return
        PICTURES.mkdir(exist_ok=True)
        file = PICTURES / f"{name}.png"
        self.page.screenshot(path=file, animations="disabled")
        assert file.stat().st_size < MOST_PICTURE_BYTES, f"{name} is too large"


Visitor = Callable[..., Any]


@pytest.fixture
def visiting(browser: Browser, suite: RunningSuite) -> Visitor:
    """Begins a visit with a browser's settings, and holds it against what no page may do."""

    @contextmanager
    def begin(**settings: Any) -> Iterator[Visit]:
        context = browser.new_context(**{"viewport": WIDE, "locale": "en-GB", "accept_downloads": True, **settings})
        context.set_default_timeout(SLOW_MS)
        visit = Visit(context.new_page(), suite.endpoints["gateway"], suite.key)
        visit.listen()
        yield visit
        context.close()
        assert visit.faults == []

    return begin


@pytest.fixture
def visit(visiting: Visitor) -> Iterator[Visit]:
    with visiting() as begun:
        yield begun
