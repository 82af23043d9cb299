"""Settings that lead to no suite: a sentence each, and no traceback."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from click.testing import CliRunner

from cli.command_line import tenon


@pytest.fixture
def another_server() -> Iterator[str]:
    """A web server that is no gateway of Tenon's."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def said(**variables: str) -> tuple[int, str]:
    ran = CliRunner().invoke(tenon, ["status", "--json"], env={"TENON_API_KEY": "k", **variables})
    assert ran.stdout == ""
    return ran.exit_code, json.loads(ran.stderr)["error"]["message"]


@pytest.mark.parametrize("url", ["http://[", "nothing", "http://127.0.0.1:1", "http://ex..ample:1", "http://x y"])
def test_a_url_where_nothing_answers(url: str) -> None:
    status, message = said(TENON_URL=url)
    assert status == 5
    assert message.startswith(f"No suite answers at {url} (")
    assert message.endswith("Start one with `tenon up`, or set TENON_URL to where it is.")


def test_a_url_where_something_else_answers(another_server: str) -> None:
    status, message = said(TENON_URL=another_server)
    assert status == 5
    assert message.endswith("is not an answer of Tenon's gateway. Is TENON_URL right?")


@pytest.mark.parametrize("key", ["kä", "a\nb"])
def test_a_key_that_cannot_be_sent(key: str) -> None:
    status, message = said(TENON_API_KEY=key, TENON_URL="http://127.0.0.1:1")
    assert status == 2
    assert "TENON_API_KEY" in message
    assert key not in message
