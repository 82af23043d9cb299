"""DIR/run/endpoints.json: where the suite can be reached, for as long as it is ready."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from cli.suite import endpoints_guard
from cli.suite.files import write_atomically


@asynccontextmanager
async def published(file: Path, endpoints: Mapping[str, str]) -> AsyncIterator[None]:
    """Have the file inside the block, and nowhere else: not even after this process was killed."""
    inode = _write(file, endpoints)
    guard = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", endpoints_guard.__file__, str(file), str(inode)),
        stdin=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield
    finally:
        _remove(file)
        if guard.stdin is not None:
            guard.stdin.close()
        await guard.wait()


def _write(file: Path, endpoints: Mapping[str, str]) -> int:
    write_atomically(file, json.dumps(endpoints, indent=2) + "\n")
    return file.stat().st_ino


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)
