"""What every test of the data set readers uses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.trainer.datasets import DatasetFormat, Fault, Limits, Summary, check_dataset

Check = Callable[..., tuple[list[Fault], Summary]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Check bytes, or rows as JSON Lines; the faults and the summary."""

    def run(
        content: bytes | list[Any], layout: DatasetFormat | None = None, limits: Limits | None = None
    ) -> tuple[list[Fault], Summary]:
        path = tmp_path / "rows"
        path.write_bytes(content if isinstance(content, bytes) else json_lines(content))
        *faults, summary = check_dataset(path, layout, limits or Limits())
        assert isinstance(summary, Summary)
        return [fault for fault in faults if isinstance(fault, Fault)], summary

    return run


def json_lines(rows: list[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
