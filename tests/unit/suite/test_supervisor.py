import asyncio
import logging
import os
import signal
import time
from pathlib import Path

import pytest

from cli.suite.process import ProcessSpec, StopStep
from cli.suite.supervisor import Backoff, Supervisor, running
from services.common.errors import DomainError, Reason
from tests.unit.suite.conftest import Eventually
from tests.unit.suite.programs import alive, pid_of, program

SPAWN_GRANDCHILD = """
child = os.fork()
if child == 0:
    open("grandchild.up", "w").write(str(os.getpid()))
    while True:
        signal.pause()
"""


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


async def test_dependents_start_after_and_end_before_what_they_need(tmp_path: Path, logs: Path) -> None:
    note = 'open("ended", "a").write("{} ")'.format
    specs = [
        program(
            tmp_path,
            "top",
            first='assert os.path.exists("middle.up")',
            last=note("top"),
            depends_on=("middle", "bottom"),
        ),
        program(tmp_path, "bottom", last=note("bottom")),
        program(
            tmp_path, "middle", first='assert os.path.exists("bottom.up")', last=note("middle"), depends_on=("bottom",)
        ),
    ]
    async with running(specs, logs, asyncio.Event()):
        pids = [pid_of(tmp_path, spec.name) for spec in specs]
        assert all(map(alive, pids))
    assert (tmp_path / "ended").read_text() == "top middle bottom "
    assert not any(map(alive, pids))


async def test_what_does_not_depend_on_each_other_starts_together(tmp_path: Path, logs: Path) -> None:
    # Each gets up only once it has seen the other's first trace.
    meet = 'open("{0}.here", "w").close()\nwhile not os.path.exists("{1}.here"): pass'
    specs = [
        program(tmp_path, "left", first=meet.format("left", "right")),
        program(tmp_path, "right", first=meet.format("right", "left")),
    ]
    async with running(specs, logs, asyncio.Event()):
        pass


async def test_what_is_used_need_not_be_ready_first_but_ends_later(tmp_path: Path, logs: Path) -> None:
    note = 'open("ended", "a").write("{} ")'.format
    specs = [
        program(tmp_path, "front", last=note("front"), uses=("back",)),
        program(tmp_path, "back", first='while not os.path.exists("front.up"): pass', last=note("back")),
    ]
    async with running(specs, logs, asyncio.Event()):
        pass
    assert (tmp_path / "ended").read_text() == "front back "


async def test_a_process_that_dies_is_started_again(
    tmp_path: Path, logs: Path, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    async with running([program(tmp_path, "service")], logs, asyncio.Event()):
        killed = pid_of(tmp_path, "service")
        os.kill(killed, signal.SIGKILL)
        with caplog.at_level(logging.WARNING):
            await eventually(lambda: "service is ready again." in caplog.text)
        assert alive(pid_of(tmp_path, "service"))
        assert pid_of(tmp_path, "service") != killed
    assert "service was ended by SIGKILL; starting it again in 0.5 s." in caplog.text


async def test_a_restart_that_fails_is_tried_again(
    tmp_path: Path, logs: Path, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    first = 'if os.path.exists("broken"): os.remove("broken"); sys.exit("broken indeed")'
    async with running([program(tmp_path, "service", first=first)], logs, asyncio.Event()):
        (tmp_path / "broken").touch()
        os.kill(pid_of(tmp_path, "service"), signal.SIGKILL)
        with caplog.at_level(logging.WARNING):
            await eventually(lambda: "service is ready again." in caplog.text)
    assert "broken indeed\nTrying again in 1 s." in caplog.text


async def test_a_process_that_ends_before_it_is_ready_fails_the_start(tmp_path: Path, logs: Path) -> None:
    broken = 'import sys; print("one"); sys.exit("the reason is here")'
    specs = [program(tmp_path, "good"), program(tmp_path, "bad", code=broken, depends_on=("good",))]
    with pytest.raises(DomainError, match="the reason is here") as raised:
        async with running(specs, logs, asyncio.Event()):
            pytest.fail("it must not become ready")
    assert raised.value.reason is Reason.PROCESS_FAILED
    assert raised.value.message.startswith("bad ended with exit status 1 before it was ready. Its last lines (")
    assert raised.value.metadata == {"process": "bad", "log": str(logs / "bad.log")}
    assert not alive(pid_of(tmp_path, "good"))


async def test_a_failure_quotes_nothing_of_earlier_starts(tmp_path: Path, logs: Path) -> None:
    (logs / "bad.log").write_text("an older story\n")
    spec = program(tmp_path, "bad", code='raise SystemExit("the new one")')
    with pytest.raises(DomainError, match="the new one") as raised:
        async with running([spec], logs, asyncio.Event()):
            pytest.fail("it must not become ready")
    assert "older" not in raised.value.message
    assert (logs / "bad.log").read_text() == "an older story\nthe new one\n"


async def test_a_process_that_never_gets_ready_is_ended(tmp_path: Path, logs: Path) -> None:
    code = 'import os, time; open("stuck.pid", "w").write(str(os.getpid())); time.sleep(3600)'
    spec = program(tmp_path, "stuck", code=code, ready_within=0.5)
    with pytest.raises(DomainError, match=r"^stuck was not ready after 0\.5 s\. Its log is "):
        async with running([spec], logs, asyncio.Event()):
            pytest.fail("it must not become ready")
    assert not alive(int((tmp_path / "stuck.pid").read_text()))


async def test_a_program_that_does_not_exist(tmp_path: Path, logs: Path) -> None:
    spec = program(tmp_path, "missing", argv=("/nowhere/program",))
    with pytest.raises(DomainError, match="/nowhere/program"):
        async with running([spec], logs, asyncio.Event()):
            pytest.fail("it must not become ready")


def stubborn(folder: Path, seconds: float) -> ProcessSpec:
    return program(
        folder,
        "stubborn",
        first="signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal = lambda *_: None",
        stop=(StopStep(signal.SIGTERM, seconds),),
    )


async def test_a_process_that_ignores_sigterm_is_killed_when_its_time_is_up(tmp_path: Path, logs: Path) -> None:
    async with running([stubborn(tmp_path, 0.2)], logs, asyncio.Event()):
        pid = pid_of(tmp_path, "stubborn")
    assert not alive(pid)


async def test_asking_twice_shortens_the_wait(tmp_path: Path, logs: Path) -> None:
    hurry = asyncio.Event()
    async with running([stubborn(tmp_path, 3600)], logs, hurry):
        pid = pid_of(tmp_path, "stubborn")
        hurry.set()
        begin = time.monotonic()
    assert not alive(pid)
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("crash", [False, True])
async def test_grandchildren_end_with_their_parent(
    tmp_path: Path, logs: Path, eventually: Eventually, crash: bool
) -> None:
    async with running([program(tmp_path, "service", first=SPAWN_GRANDCHILD)], logs, asyncio.Event()):
        await eventually((tmp_path / "grandchild.up").exists)
        await eventually(lambda: bool((tmp_path / "grandchild.up").read_text()))
        grandchild = pid_of(tmp_path, "grandchild")
        if crash:
            os.kill(pid_of(tmp_path, "service"), signal.SIGKILL)
            await eventually(lambda: not alive(grandchild))
    await eventually(lambda: not alive(grandchild))


async def test_a_start_that_is_cancelled_leaves_nothing(tmp_path: Path, logs: Path, eventually: Eventually) -> None:
    specs = [program(tmp_path, "up"), program(tmp_path, "stuck", code="import time; time.sleep(3600)")]

    async def start() -> None:
        async with running(specs, logs, asyncio.Event()):
            pytest.fail("it must not become ready")

    task = asyncio.create_task(start())
    await eventually((tmp_path / "up.up").exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(pid_of(tmp_path, "up"))


def test_backoff_doubles_up_to_its_bound_and_forgets_after_a_steady_while() -> None:
    backoff = Backoff()
    assert [backoff.next(1.0) for _ in range(7)] == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert backoff.next(3600.0) == 0.5


async def test_circles_and_unknown_names_are_refused(tmp_path: Path, logs: Path) -> None:
    circle = [program(tmp_path, "a", depends_on=("b",)), program(tmp_path, "b", depends_on=("a",))]
    with pytest.raises(ValueError, match="a, b"):
        Supervisor(circle, logs, asyncio.Event())
    with pytest.raises(ValueError, match="a"):
        Supervisor([program(tmp_path, "a", depends_on=("nobody",))], logs, asyncio.Event())


def test_the_environment_is_not_shown(tmp_path: Path) -> None:
    assert "hunter2" not in repr(program(tmp_path, "service", env={"TENON_DATABASE_URL": "hunter2"}))
