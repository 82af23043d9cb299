"""Files of an adapter that is on its way in: a cancelled call leaves neither a folder nor an open file."""

import asyncio
import gc
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.trainer.transfer.adapter_files import NewFile, Part, received_files


async def test_a_call_cancelled_while_a_file_is_opened(tmp_path: Path) -> None:
    begins = asyncio.Event()

    async def parts() -> AsyncIterator[Part]:
        begins.set()
        yield NewFile("adapter_config.json")

    await cancelled(begins, parts(), tmp_path)


async def test_a_call_cancelled_while_the_folder_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begins = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Announced(tempfile.TemporaryDirectory[str]):
        def __init__(self, **options: Any) -> None:
            loop.call_soon_threadsafe(begins.set)
            super().__init__(**options)

    async def parts() -> AsyncIterator[Part]:
        yield NewFile("adapter_config.json")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", Announced)
    await cancelled(begins, parts(), tmp_path)


async def cancelled(begins: asyncio.Event, parts: AsyncIterator[Part], directory: Path) -> None:
    async def receive() -> None:
        async with received_files(parts, directory=directory, max_bytes=1000):
            await asyncio.Event().wait()

    receiving = asyncio.create_task(receive())
    await begins.wait()
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    del receiving
    # Where something was left open, its warning is an error here.
    gc.collect()
    assert not list(directory.iterdir())
