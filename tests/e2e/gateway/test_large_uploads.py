"""Files that are larger than the memory they pass through: the gateway, the trainer and the command line each stay small."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.e2e.gateway.stack import Stack, running_stack
from tests.support.postgres import PostgresServer
from tests.support.raw_http import answer_on, connected, head
from tests.support.suite import PROJECT, environment

MOST_BYTES = 200 * 10**6
"""Of memory, for each process."""
SMALL, LARGE, LIMIT = 60 * 10**6, 5 * 10**9, 6 * 10**9
BOUNDARY = b"b0undary"


def rows(size: int) -> Iterator[bytes]:
    """Good rows of some 4 KB, a megabyte or so at a time, of at least so many bytes."""
    text, number, made = "x" * 4000, 0, 0
    while made < size:
        piece = b"".join(b'{"prompt": "%d", "completion": "%s"}\n' % (number + n, text.encode()) for n in range(256))
        number, made = number + 256, made + len(piece)
        yield piece


def form(file: Iterable[bytes]) -> Iterator[bytes]:
    part = b'--%b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n'
    yield part % (BOUNDARY, b"purpose", b"") + b"fine-tune\r\n"
    yield part % (BOUNDARY, b"file", b'; filename="large.jsonl"')
    yield from file
    yield b"\r\n--%b--\r\n" % BOUNDARY


def forget_peak(process: "subprocess.Popen[bytes]") -> None:
    """Begin to measure VmHWM anew (proc_pid_clear_refs(5))."""
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")


def peak(process: "subprocess.Popen[bytes]") -> int:
    """The most memory in bytes that a process has had resident."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def upload(stack: Stack, size: int) -> dict[str, int]:
    """Upload as much as asked, and delete it; gives the services' peaks."""
    measured = {name: stack.processes[name] for name in ("gateway", "trainer")}
    for process in measured.values():
        forget_peak(process)
    with stack.http() as http:
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}
        answer = http.post("/v1/files", content=form(rows(size)), headers=kind, timeout=3000)
        assert answer.status_code == 200, answer.text
        assert answer.json()["bytes"] >= size
        http.delete(f"/v1/files/{answer.json()['id']}")
    return {name: peak(process) for name, process in measured.items()}


def upload_by_command(stack: Stack, file: Path) -> dict[str, int]:
    """The same by `tenon data upload`, which is measured, too."""
    measured = {name: stack.processes[name] for name in ("gateway", "trainer")}
    for process in measured.values():
        forget_peak(process)
    variables = {"TENON_URL": stack.url, **({"TENON_API_KEY": stack.key} if stack.key else {})}
    command = [sys.executable, "-m", "cli", "data", "upload", str(file), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROJECT, env=environment(**variables)) as running:
        assert running.stdout is not None
        own = 0
        while running.poll() is None:
            # It grows only, and the end of a command is not where it grows. Before it runs, it is this process's own.
            with suppress(OSError, IndexError):
                own = peak(running)
            time.sleep(0.02)
        told = json.loads(running.stdout.read())
    assert running.returncode == 0
    with stack.http() as http:
        http.delete(f"/v1/files/{told['id']}")
    return {name: peak(process) for name, process in measured.items()} | {"command": own}


def announce(stack: Stack, size: int) -> int:
    """Say that so many bytes come, and send them until the gateway has enough; gives how many were sent."""
    with connected(stack.ports["gateway"]) as connection:
        kind = f"multipart/form-data; boundary={BOUNDARY.decode()}"
        connection.sendall(head("POST", "/v1/files", stack.key, Content_Type=kind, Content_Length=str(size)))
        sent = 0
        try:
            for piece in form(rows(size)):
                connection.sendall(piece)
                sent += len(piece)
        except ConnectionError:
            pass
        answer = answer_on(connection)
    assert (answer.status, answer.code) == (413, "limit_exceeded")
    return sent


def test_sixty_megabytes_pass_through_little_memory(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    with file.open("wb") as opened:
        opened.writelines(rows(SMALL))
    for peaks in (upload(stack, SMALL), upload_by_command(stack, file)):
        assert max(peaks.values()) < MOST_BYTES, peaks


def test_five_gigabytes_that_are_announced_are_refused_before_they_are_sent(stack: Stack) -> None:
    assert announce(stack, LARGE) < 200 * 10**6


@pytest.fixture(scope="module")
def roomy(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    root = tmp_path_factory.mktemp("roomy")
    if shutil.disk_usage(root).free < 4 * LARGE:
        pytest.fail(f"{root} has not {4 * LARGE} bytes free")
    limits = {"TENON_DATASET_MAX_BYTES": str(LIMIT), "TENON_HTTP_MAX_UPLOAD_BYTES": str(LIMIT)}
    # Uploads lie beside the store.
    with running_stack(root, postgres_server.create_database(), TENON_UPLOAD_DIR=str(root), **limits) as stack:
        yield stack


@pytest.mark.proof
@pytest.mark.timeout(3000)
def test_five_gigabytes_pass_through_little_memory(
    roomy: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_rest = upload(roomy, LARGE)
    file = tmp_path / "rows.jsonl"
    with file.open("wb") as opened:
        opened.writelines(rows(LARGE))
    by_command = upload_by_command(roomy, file)
    file.unlink()
    with capsys.disabled():
        print(f"\nby REST {by_rest}, by command {by_command}")
    for peaks in (by_rest, by_command):
        assert max(peaks.values()) < MOST_BYTES, peaks
    assert psutil.Process(roomy.processes["trainer"].pid).children() == []
