"""The local executor with real processes that behave worse than the recipe."""

import asyncio
import sys
import time
from pathlib import Path

import pytest

from services.common.errors import DomainError, Reason
from services.trainer.datasets import DatasetFormat
from services.trainer.recipe.protocol import Event, Failed, Level, Note, RecipeTask, encode
from services.trainer.support.executor import MAX_LINE_BYTES, LocalExecutor

HELLO = encode(Note(level=Level.INFO, text="hello"))
FAILED = encode(Failed(reason=Reason.NOTHING_TO_LEARN, message="No labels.", metadata={"rows": "3"}))


def program(script: str) -> tuple[str, ...]:
    head = f"import os, signal, subprocess, sys, time\nHELLO, FAILED = {HELLO!r}, {FAILED!r}\n"
    head += "pids = os.path.join(os.path.dirname(sys.argv[-1]), 'pids')\n"
    return (sys.executable, "-u", "-c", head + script)


def task(directory: Path) -> RecipeTask:
    return RecipeTask(
        base_model="baseModels/tiny",
        base_directory=directory,
        base_fingerprint_id="ab" * 32,
        dataset_path=directory / "rows",
        dataset_format=DatasetFormat.ALPACA,
        output_directory=directory / "output",
    )


async def events(script: str, directory: Path, *, stop_seconds: float = 5.0) -> list[Event]:
    async with LocalExecutor(stop_seconds, program(script)).run(task(directory), directory) as stream:
        return [event async for event in stream]


async def gone(pid: int) -> None:
    async with asyncio.timeout(10):
        while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            await asyncio.sleep(0.02)


async def test_events_come_one_by_one_until_the_last(tmp_path: Path) -> None:
    found = await events("print(HELLO); print(FAILED); print('more')", tmp_path)
    assert found == [
        Note(level=Level.INFO, text="hello"),
        Failed(reason=Reason.NOTHING_TO_LEARN, message="No labels.", metadata={"rows": "3"}),
    ]


async def test_the_task_is_in_a_file_whose_name_is_the_last_argument(tmp_path: Path) -> None:
    script = "content = open(sys.argv[-1]).read(); assert 'baseModels/tiny' in content; print(FAILED)"
    assert len(await events(script, tmp_path)) == 1


async def test_a_death_is_told_with_its_signal(tmp_path: Path) -> None:
    with pytest.raises(DomainError, match="memory ran out") as raised:
        await events("print(HELLO); os.kill(os.getpid(), signal.SIGKILL)", tmp_path)
    assert raised.value.reason is Reason.TRAINING_CRASHED
    assert raised.value.metadata == {"signal": "SIGKILL"}


async def test_an_end_without_result_is_told_with_the_last_words_but_no_folders(tmp_path: Path) -> None:
    script = (
        "for n in range(100): print('line', n, file=sys.stderr)\n"
        "print('cannot open \"/home/someone/secret/place/file.txt\"', file=sys.stderr)\nsys.exit(3)"
    )
    with pytest.raises(DomainError) as raised:
        await events(script, tmp_path)
    assert raised.value.metadata == {"exit_status": "3"}
    assert "line 99" in raised.value.message
    assert "line 1\n" not in raised.value.message
    assert 'cannot open "…/file.txt"' in raised.value.message


async def test_a_flood_on_stderr_stops_nothing(tmp_path: Path) -> None:
    script = f"sys.stderr.write('x' * {MAX_LINE_BYTES * 2} + '\\n' + 'y' * 1000000); print(FAILED)"
    assert len(await events(script, tmp_path)) == 1


@pytest.mark.parametrize("line", ["'no event'", f"'x' * {MAX_LINE_BYTES + 1}"])
async def test_a_line_that_is_no_event_ends_the_run(tmp_path: Path, line: str) -> None:
    with pytest.raises(DomainError) as raised:
        await events(f"print({line}); time.sleep(60)", tmp_path)
    assert raised.value.reason is Reason.INTERNAL


async def test_leaving_early_ends_a_process_that_does_not_want_to_and_its_children(tmp_path: Path) -> None:
    script = (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "open(pids, 'w').write(f'{os.getpid()} {child.pid}')\nprint(HELLO)\ntime.sleep(60)"
    )
    started = time.monotonic()
    async with LocalExecutor(0.5, program(script)).run(task(tmp_path), tmp_path) as stream:
        assert await anext(stream) == Note(level=Level.INFO, text="hello")
    assert time.monotonic() - started < 10
    for pid in (tmp_path / "pids").read_text().split():
        await gone(int(pid))


async def test_cancellation_ends_the_process(tmp_path: Path) -> None:
    script = "open(pids, 'w').write(str(os.getpid())); print(HELLO); time.sleep(60)"
    running = asyncio.create_task(events(script, tmp_path))
    async with asyncio.timeout(10):
        while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text():
            await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not Path(f"/proc/{(tmp_path / 'pids').read_text()}").exists()


async def test_secrets_of_the_worker_are_not_the_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TENON_DATABASE_URL", "TENON_S3_SECRET_KEY", "TENON_S3_ACCESS_KEY", "HF_TOKEN", "PGPASSWORD"):
        monkeypatch.setenv(name, "hidden")
    for name in ("TENON_SUITE", "TOKENIZERS_PARALLELISM"):
        monkeypatch.setenv(name, "shown")
    script = (
        "assert 'hidden' not in os.environ.values()\n"
        "assert list(os.environ.values()).count('shown') == 2\nprint(FAILED)"
    )
    assert len(await events(script, tmp_path)) == 1
