"""Parquet files are read as JSON is, by a process that may crash."""

from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.common.errors import DomainError, Reason
from services.trainer.datasets import (
    Conversation,
    DatasetFormat,
    Fault,
    Limits,
    Message,
    Role,
    Summary,
    TextPair,
    check_dataset,
    read_conversations,
)

CHAT = {
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "猴"},
        {"role": "assistant", "content": "b"},
    ]
}
CONVERSATION = Conversation(
    (Message(Role.SYSTEM, "s", False), Message(Role.USER, "猴", False), Message(Role.ASSISTANT, "b", True))
)


def write(path: Path, rows: list[dict[str, Any]] | pa.Table, **options: Any) -> Path:
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows)
    pq.write_table(table, path, **options)
    return path


def check(path: Path, limits: Limits | None = None) -> tuple[list[Fault], Summary]:
    *faults, summary = check_dataset(path, None, limits or Limits())
    assert isinstance(summary, Summary)
    return [fault for fault in faults if isinstance(fault, Fault)], summary


def test_nested_messages_are_read_and_trained_on(tmp_path: Path) -> None:
    path = write(tmp_path / "rows", [CHAT, {**CHAT, "id": 5}, CHAT], row_group_size=2)
    faults, summary = check(path)
    assert not faults
    assert summary.format is DatasetFormat.OPENAI_CHAT
    statistics = summary.statistics
    assert (statistics.row_count, statistics.duplicate_row_count, statistics.answer_count) == (3, 2, 3)
    assert list(read_conversations(path, DatasetFormat.OPENAI_CHAT)) == [CONVERSATION] * 3


def test_what_only_some_rows_have_is_null_in_the_others(tmp_path: Path) -> None:
    weighted = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 1}]}
    faults, summary = check(write(tmp_path / "rows", [CHAT, weighted]))
    assert not faults
    assert summary.statistics.row_count == 2


@pytest.mark.parametrize(
    "kinds", [(pa.large_string(), pa.string()), (pa.binary(), pa.dictionary(pa.int32(), pa.string()))], ids=str
)
def test_texts_may_be_stored_in_any_way(tmp_path: Path, kinds: tuple[pa.DataType, pa.DataType]) -> None:
    prompt, completion = (pa.array(["a猴", "a猴"]).cast(kind) for kind in kinds)
    table = pa.table({"prompt": prompt, "completion": completion, "id": [1, 2]})
    path = write(tmp_path / "rows", table, compression="zstd")
    assert not check(path)[0]
    assert list(read_conversations(path, DatasetFormat.PROMPT_COMPLETION)) == [TextPair("a猴", "a猴")] * 2


def test_a_fault_is_told_with_the_rows_number_as_its_line(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    rows = [{"conversations": turns}, {"conversations": turns[:1]}, {"conversations": None}, {"conversations": []}]
    faults, summary = check(write(tmp_path / "rows", rows))
    assert [(fault.line, fault.row, fault.field) for fault in faults] == [
        (2, 2, "conversations[0]"),
        (3, 3, "conversations"),
        (4, 4, "conversations"),
    ]
    assert "ends without an answer" in faults[0].reason
    assert "is null" in faults[1].reason
    assert summary.statistics.faulty_row_count == 3


def test_bytes_that_are_no_text_are_told_with_their_field(tmp_path: Path) -> None:
    table = pa.table({"prompt": ["a", "b"], "completion": pa.array([b"a", b"\xff"])})
    faults, _ = check(write(tmp_path / "rows", table))
    assert [(fault.row, fault.field) for fault in faults] == [(2, "completion")]


def test_values_of_other_types_are_faults(tmp_path: Path) -> None:
    faults, _ = check(write(tmp_path / "rows", [{"instruction": 3, "output": [1.5]}]))
    assert [(fault.field, fault.reason[:20]) for fault in faults] == [
        ("instruction", "The value is a numbe"),
        ("output", "The value is an arra"),
    ]


def test_columns_that_no_format_knows_are_told_once(tmp_path: Path) -> None:
    faults, summary = check(write(tmp_path / "rows", [{"question": "a", "reply": "b"}] * 3))
    assert [(fault.row, fault.line) for fault in faults] == [(0, 1)]
    assert 'the columns are "question", "reply"' in faults[0].reason
    assert not summary.statistics.row_count


def test_a_column_that_comes_twice_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["prompt", "completion", "completion"])
    faults, _ = check(write(tmp_path / "rows", table))
    assert "occurs more than once" in faults[0].reason


def test_a_file_without_rows_is_empty(tmp_path: Path) -> None:
    _, summary = check(write(tmp_path / "rows", pa.table({"prompt": pa.array([], pa.string())})))
    assert summary.is_empty


def test_what_is_no_whole_parquet_file_is_told(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", [CHAT] * 100).read_bytes()
    for content in (b"PAR1", whole[:-1], whole[:4] + bytes(50) + whole[54:]):
        (tmp_path / "rows").write_bytes(content)
        faults, _ = check(tmp_path / "rows")
        assert "cannot be read as Parquet" in faults[-1].reason
        assert str(tmp_path) not in faults[-1].reason


def test_a_value_above_the_limit_is_told_and_the_next_rows_read(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": text} for text in ("b", "c" * 500, "d")]
    faults, summary = check(write(tmp_path / "rows", rows), Limits(max_row_bytes=100))
    assert [fault.row for fault in faults] == [2]
    assert "at most 100 are allowed" in faults[0].reason
    assert summary.statistics.row_count == 2


def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    table = pa.table({"prompt": ["a" * 1000] * 2000, "completion": ["b"] * 2000})
    path = write(tmp_path / "rows", table, compression="zstd")
    assert path.stat().st_size < 10_000
    with pytest.raises(DomainError, match="more than 1,000,000 bytes once unpacked") as caught:
        check(path, Limits(max_unpacked_bytes=1_000_000))
    assert caught.value.reason is Reason.LIMIT_EXCEEDED


def test_rows_of_nothing_are_limited_in_number(tmp_path: Path) -> None:
    path = write(tmp_path / "rows", pa.table({"prompt": pa.nulls(20_000_001, pa.string())}))
    assert path.stat().st_size < 100_000
    with pytest.raises(DomainError, match="at most 20,000,000") as caught:
        check(path)
    assert caught.value.reason is Reason.LIMIT_EXCEEDED


@pytest.mark.proof
def test_memory_is_limited_whatever_a_value_unpacks_to(tmp_path: Path) -> None:
    huge = pa.array(["a" * 400_000_000])
    path = write(tmp_path / "rows", pa.table({"prompt": huge, "completion": huge}), compression="zstd")
    assert path.stat().st_size < 1_000_000
    with pytest.raises(DomainError, match="bytes of memory") as caught:
        check(path)
    assert caught.value.reason is Reason.LIMIT_EXCEEDED


def test_reading_may_end_early_and_leaves_no_process(tmp_path: Path) -> None:
    path = write(tmp_path / "rows", [{"prompt": f"{n}" * 100, "completion": "b"} for n in range(20_000)])
    rows = read_conversations(path, DatasetFormat.PROMPT_COMPLETION)
    next(rows)
    (reader,) = (child for child in psutil.Process().children() if "parquet_reader" in " ".join(child.cmdline()))
    rows.close()  # type: ignore[attr-defined]
    assert not reader.is_running()
