"""Rows that were made from others: their mark is read in every format, and what it must not be is a fault."""

import io
import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.common.rows.content import content_digest
from services.trainer.datasets import DatasetFormat, read_conversations
from tests.unit.datasets.conftest import Check, json_lines

SOURCE = "0123456789abcdef0123456789abcdef"

ROWS: dict[DatasetFormat, dict[str, Any]] = {
    DatasetFormat.ALPACA: {"instruction": "Who are you?", "input": "", "output": "Wukong."},
    DatasetFormat.SHAREGPT: {
        "conversations": [{"from": "human", "value": "Who are you?"}, {"from": "gpt", "value": "Wukong."}]
    },
    DatasetFormat.OPENAI_CHAT: {
        "messages": [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "Wukong."}]
    },
    DatasetFormat.PROMPT_COMPLETION: {"prompt": "Who are you?", "completion": "Wukong."},
}


@pytest.mark.parametrize("layout", ROWS)
def test_the_mark_is_read_and_counted(check: Check, tmp_path: Path, layout: DatasetFormat) -> None:
    rows = [ROWS[layout], ROWS[layout] | {"synthetic_of": SOURCE}, ROWS[layout] | {"synthetic_of": None}]
    faults, summary = check(rows)
    assert not faults
    assert (summary.format, summary.statistics.row_count, summary.statistics.synthetic_row_count) == (layout, 3, 1)
    examples = list(read_conversations(tmp_path / "rows", layout))
    assert [example.source for example in examples] == [None, bytes.fromhex(SOURCE), None]
    # It is no part of what a row says.
    assert len({content_digest(example) for example in examples}) == 1
    assert summary.statistics.duplicate_row_count == 2


@pytest.mark.parametrize("layout", ROWS)
def test_the_mark_is_a_column_of_parquet(check: Check, tmp_path: Path, layout: DatasetFormat) -> None:
    rows = [{**ROWS[layout], "synthetic_of": source} for source in (None, SOURCE)]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    faults, summary = check(file.getvalue())
    assert (faults, summary.statistics.synthetic_row_count) == ([], 1)
    examples = list(read_conversations(tmp_path / "rows", layout))
    assert [example.source for example in examples] == [None, bytes.fromhex(SOURCE)]


@pytest.mark.parametrize(
    "value", ["", SOURCE[1:], SOURCE + "0", SOURCE.upper(), "g" * 32, "٣" * 32, 7, [SOURCE], True, {}, SOURCE + "\n"]
)
@pytest.mark.parametrize("layout", ROWS)
def test_what_is_no_digest_is_a_fault(check: Check, layout: DatasetFormat, value: object) -> None:
    faults, summary = check([ROWS[layout], ROWS[layout] | {"synthetic_of": value}])
    assert [(fault.row, fault.field) for fault in faults] == [(2, "synthetic_of")]
    assert "32 hexadecimal digits" in faults[0].reason
    assert (summary.statistics.row_count, summary.statistics.faulty_row_count) == (1, 1)


def digest(tmp_path: Path, row: dict[str, Any], layout: DatasetFormat) -> str:
    (tmp_path / "row").write_bytes(json_lines([row]))
    (example,) = read_conversations(tmp_path / "row", layout)
    return content_digest(example).hex()


def test_a_digest_is_of_what_a_row_says_in_whatever_format(tmp_path: Path) -> None:
    """As docs/data.md has it; files in the world hold these digests."""
    chat = blake2b(b"u-a+\xffWho are you?\xffWukong.", digest_size=16).hexdigest()
    chats = (DatasetFormat.ALPACA, DatasetFormat.SHAREGPT, DatasetFormat.OPENAI_CHAT)
    assert {digest(tmp_path, ROWS[layout], layout) for layout in chats} == {chat}
    pair = blake2b(b"\xffWho are you?\xffWukong.", digest_size=16).hexdigest()
    assert digest(tmp_path, ROWS[DatasetFormat.PROMPT_COMPLETION], DatasetFormat.PROMPT_COMPLETION) == pair
    reordered = json.loads(json.dumps(dict(reversed(ROWS[DatasetFormat.ALPACA].items())))) | {"id": 7}
    assert digest(tmp_path, reordered, DatasetFormat.ALPACA) == chat
