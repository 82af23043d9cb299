"""The process that tokenises may crash, hang or be asked for too often."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from services.common.errors import DomainError, Reason
from services.common.resource_names import BaseModelName
from services.trainer.catalog import examiner as module
from services.trainer.catalog.examiner import Examiner, Measure, Rows
from services.trainer.datasets import DatasetFormat, Limits


def examiner(root: Path, script: str, **options: Any) -> Examiner:
    return Examiner(
        None,  # type: ignore[arg-type]  # nothing here asks the registry
        cache_dir=root / "cache",
        base_roots=(root,),
        directory=root,
        program=(sys.executable, "-c", script),
        **options,
    )


async def count(subject: Examiner, root: Path) -> object:
    rows = Rows(root / "rows", DatasetFormat.ALPACA, 1, Limits())
    return await subject.count(rows, Measure(BaseModelName("tiny"), "0" * 64, (root.as_uri(),), None))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import sys; sys.exit('secret')", "ended with status 1"),
        ("import os; os.kill(os.getpid(), 9)", "ended with status -9"),
        ("print('{}')", "no answer of this version"),
        (
            'print(\'{"event":"preview","rows":[],"max_sequence_length":5,"uses_plain_template":false}\')',
            "something else",
        ),
    ],
)
async def test_a_process_without_an_answer_is_told(tmp_path: Path, script: str, words: str) -> None:
    with pytest.raises(DomainError, match=words) as caught:
        await count(examiner(tmp_path, script), tmp_path)
    assert caught.value.reason is Reason.INTERNAL
    assert "secret" not in caught.value.message
    assert not list(tmp_path.glob("tenon-*"))


async def test_a_failure_is_told_without_the_place_of_the_base(tmp_path: Path) -> None:
    script = (
        "import json, sys; task = json.load(open(sys.argv[1])); "
        "print(json.dumps({'event': 'failed', 'reason': 'BASE_NOT_SUPPORTED', 'metadata': {}, "
        "'message': task['base_directory'] + ' is of no use.'}))"
    )
    with pytest.raises(DomainError, match=r"^The base is of no use\.$") as caught:
        await count(examiner(tmp_path, script), tmp_path)
    assert caught.value.reason is Reason.BASE_NOT_SUPPORTED


async def test_a_process_that_hangs_is_ended(tmp_path: Path) -> None:
    started = asyncio.get_running_loop().time()
    with pytest.raises(DomainError, match=r"more than 0\.3 seconds") as caught:
        await count(examiner(tmp_path, "import time; time.sleep(60)", run_seconds=0.3), tmp_path)
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED
    assert asyncio.get_running_loop().time() - started < 10


async def test_too_many_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 1)
    subject = examiner(tmp_path, "import time; time.sleep(60)", run_seconds=2)
    calls = [asyncio.create_task(count(subject, tmp_path)) for _ in range(module.AT_ONCE + 1)]
    await asyncio.sleep(0.1)
    with pytest.raises(DomainError) as caught:
        await count(subject, tmp_path)
    assert caught.value.reason is Reason.QUEUE_FULL
    assert caught.value.retry_after
    for call in calls:
        call.cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    assert not list(tmp_path.glob("tenon-*"))
