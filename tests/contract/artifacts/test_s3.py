"""What only a server can do: refuse, hang, answer nonsense, hand out signed URLs."""

import socket
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import urllib3

from services.common.artifacts.names import blob_key
from services.common.artifacts.s3 import PART_BYTES, S3Server, S3Store
from services.common.errors import DomainError, Reason
from tests.contract.artifacts.backends import BUCKET, S3Backend
from tests.contract.artifacts.child import MIB, PROJECT
from tests.contract.artifacts.children import run_child
from tests.support.s3.configuration import SECRET_KEY

DATA = b"in a bucket"


def test_a_large_blob_goes_up_in_parts_under_its_final_key_only(s3: S3Backend) -> None:
    blob = s3.store.put(PROJECT, [bytes(MIB)] * 20, max_bytes=20 * MIB)
    assert s3.held() == [blob_key(PROJECT, blob.digest)]
    found = s3.process.client().stat_object(BUCKET, f"{s3.prefix}/{blob_key(PROJECT, blob.digest)}")
    assert found.etag is not None
    assert found.etag.endswith(f"-{-(-blob.size // PART_BYTES)}")


def test_a_server_that_dies_while_it_sends_is_unavailable(s3: S3Backend) -> None:
    blob = s3.store.put(PROJECT, [bytes(MIB)] * 40, max_bytes=40 * MIB)
    chunks = s3.store.read(PROJECT, blob.digest)
    next(chunks)
    with s3.outage(), pytest.raises(DomainError) as caught:
        list(chunks)
    assert caught.value.reason is Reason.ARTIFACT_STORE_UNAVAILABLE
    assert s3.store.verify(PROJECT, blob.digest) == blob


def test_a_full_disk_for_spooling_is_said_and_nothing_goes_up(s3: S3Backend) -> None:
    answer = run_child("fill_spool", s3.process.endpoint, s3.prefix)
    assert answer == {"reason": Reason.ARTIFACT_STORE_FULL, "left": [], "after": len("small")}


def test_a_bucket_that_is_missing_is_not_an_empty_store(s3: S3Backend) -> None:
    store = S3Store(s3.process.server(), "no-such-bucket")
    for call in (store.check, lambda: store.stat(PROJECT, "0" * 64), lambda: store.put(PROJECT, [DATA], max_bytes=99)):
        with pytest.raises(DomainError, match="the bucket does not exist; create it") as caught:
            call()
        assert caught.value.reason is Reason.ARTIFACT_STORE_UNAVAILABLE


def test_a_wrong_secret_is_named_and_never_shown(s3: S3Backend) -> None:
    server = replace(s3.process.server(), secret_key="not-the-secret")
    store = S3Store(server, BUCKET)
    with pytest.raises(DomainError, match="check TENON_S3_SECRET_KEY") as caught:
        store.check()
    assert caught.value.reason is Reason.ARTIFACT_STORE_UNAVAILABLE
    assert caught.value.__cause__ is None
    shown = "".join(traceback.format_exception(caught.value)) + repr(store) + repr(server) + repr(vars(store))
    assert "not-the-secret" not in shown
    assert SECRET_KEY not in repr(s3.process.server())


def test_an_unknown_access_key_is_refused(s3: S3Backend) -> None:
    for server in (
        replace(s3.process.server(), access_key="tenon:stranger"),
        replace(s3.process.server(), access_key=None, secret_key=None),
    ):
        with pytest.raises(DomainError) as caught:
            S3Store(server, BUCKET).check()
        assert caught.value.reason is Reason.ARTIFACT_STORE_UNAVAILABLE


def test_a_signed_url_gives_its_holder_that_blob_alone(s3: S3Backend) -> None:
    blob = s3.store.put(PROJECT, [DATA], max_bytes=99)
    url = s3.store.presign_get(PROJECT, blob.digest, timedelta(minutes=1))
    assert url is not None
    assert SECRET_KEY not in url
    with urllib3.PoolManager(retries=False) as http:
        assert http.request("GET", url).data == DATA
        assert http.request("GET", url.replace(f"/{PROJECT}/", "/other/")).status == 403
        assert http.request("DELETE", url).status == 403
        assert http.request("GET", url.partition("?")[0]).status in {400, 403}
    assert s3.store.verify(PROJECT, blob.digest) == blob


def test_a_signed_url_expires(s3: S3Backend) -> None:
    blob = s3.store.put(PROJECT, [DATA], max_bytes=99)
    url = s3.store.presign_get(PROJECT, blob.digest, timedelta(seconds=1))
    assert url is not None
    deadline = time.monotonic() + 20
    with urllib3.PoolManager(retries=False) as http:
        while http.request("GET", url).status == 200:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert http.request("GET", url).status == 403


@pytest.mark.parametrize("expires", [timedelta(0), timedelta(days=8)])
def test_a_signed_url_has_its_limits(s3: S3Backend, expires: timedelta) -> None:
    with pytest.raises(DomainError) as caught:
        s3.store.presign_get(PROJECT, "0" * 64, expires)
    assert caught.value.reason is Reason.INVALID_ARGUMENT


def test_a_server_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = S3Server(f"127.0.0.1:{silent.getsockname()[1]}", secure=False, read_seconds=0.2, retries=1)
        began = time.monotonic()
        with pytest.raises(DomainError) as caught:
            S3Store(server, BUCKET).check()
    assert caught.value.reason is Reason.ARTIFACT_STORE_UNAVAILABLE
    assert time.monotonic() - began < 10


class _Stranger(BaseHTTPRequestHandler):
    """An HTTP server that is no S3 server: it knows neither ranges nor uploads."""

    data = DATA

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.data)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.data)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        page = b"<html>what is this? secret-in-a-page</html>"
        self.send_response(404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Say nothing."""


@contextmanager
def stranger() -> Iterator[S3Store]:
    with HTTPServer(("127.0.0.1", 0), _Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield S3Store(S3Server(f"127.0.0.1:{server.server_port}", secure=False, retries=0), BUCKET)
        finally:
            server.shutdown()
            thread.join()


def test_what_is_no_s3_server_is_said_without_its_words() -> None:
    with stranger() as store, pytest.raises(DomainError, match="the answer is not S3") as caught:
        store.check()
    assert "secret-in-a-page" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("page", [b"<html>secret-in-a-page", b"\xff"])
def test_what_is_no_list_is_said_without_its_words(page: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Stranger, "data", page)
    with stranger() as store:
        for listing in (store.projects(), store.blobs("default")):
            with pytest.raises(DomainError, match="the answer is not S3") as caught:
                list(listing)
            assert caught.value.reason is Reason.ARTIFACT_STORE_UNAVAILABLE
            assert "secret-in-a-page" not in "".join(traceback.format_exception(caught.value))


def test_a_server_without_ranges_does_not_pass_off_other_bytes() -> None:
    with stranger() as store:
        assert b"".join(store.read(PROJECT, "0" * 64)) == DATA
        with pytest.raises(DomainError, match="where 2 were asked for") as caught:
            list(store.read(PROJECT, "0" * 64, offset=3, length=2))
    assert caught.value.reason is Reason.ARTIFACT_STORE_UNAVAILABLE
