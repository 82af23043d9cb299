"""Whatever a file holds, a check ends with a summary and accounts for every row."""

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.datasets import (
    Conversation,
    DatasetFormat,
    Fault,
    Limits,
    Summary,
    TextPair,
    check_dataset,
    read_conversations,
)

KEYS = st.sampled_from(
    [
        "instruction",
        "input",
        "output",
        "system",
        "history",
        "conversations",
        "from",
        "value",
        "messages",
        "role",
        "content",
        "weight",
        "tools",
    ]
)
WORDS = st.sampled_from(["user", "assistant", "system", "human", "gpt", "", " ", "猴", "\ud800", "text"]) | st.text(
    max_size=5
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
TURN = st.dictionaries(st.sampled_from(["role", "content", "from", "value", "weight"]), WORDS | st.integers(0, 1))
ROWS = st.dictionaries(KEYS, VALUES, max_size=5) | st.fixed_dictionaries(
    {}, optional={"messages": st.lists(TURN, max_size=4), "conversations": st.lists(TURN, max_size=4)}
)
FORMATS = st.none() | st.sampled_from(DatasetFormat)


def run(content: bytes, layout: DatasetFormat | None) -> tuple[list[Fault], Summary, list[Any]]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rows"
        path.write_bytes(content)
        *faults, summary = check_dataset(path, layout, Limits(max_row_bytes=500, max_messages=3))
        assert isinstance(summary, Summary)
        kept = [fault for fault in faults if isinstance(fault, Fault)]
        assert len(kept) == len(faults) == summary.fault_count
        good = list(read_conversations(path, summary.format)) if summary.format and not faults else []
    return kept, summary, good


@given(content=st.binary(max_size=200) | st.text("[]{},:\"\\'ab\n ", max_size=80).map(str.encode), layout=FORMATS)
@settings(max_examples=150, deadline=None)
def test_any_bytes_end_in_a_summary(content: bytes, layout: DatasetFormat | None) -> None:
    faults, summary, good = run(content, layout)
    assert faults or len(good) == summary.statistics.row_count > 0


@given(rows=st.lists(ROWS | VALUES, min_size=1, max_size=6), layout=FORMATS, array=st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_row_is_good_or_has_a_fault(rows: list[Any], layout: DatasetFormat | None, array: bool) -> None:
    lines = [json.dumps(row).encode() for row in rows]
    content = b"[" + b",\n".join(lines) + b"]" if array else b"\n".join(lines)
    if content.startswith(b"[") and not array:  # its first row is an array itself
        return
    faults, summary, good = run(content, layout)
    statistics = summary.statistics
    assert statistics.row_count + statistics.faulty_row_count == len(rows)
    assert {fault.row for fault in faults} <= set(range(1, len(rows) + 1))
    assert {fault.line for fault in faults} == {fault.row for fault in faults}
    assert len({fault.row for fault in faults}) == statistics.faulty_row_count
    assert all(fault.reason.endswith(".") and fault.reason.isprintable() for fault in faults)
    assert all(isinstance(row, Conversation | TextPair) for row in good)


@given(
    pairs=st.lists(st.tuples(st.text(), st.text(min_size=1).filter(lambda text: not text.isspace())), min_size=1),
    ascii_only=st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_good_rows_come_back_as_they_were(pairs: list[tuple[str, str]], ascii_only: bool) -> None:
    rows = [{"prompt": prompt, "completion": completion} for prompt, completion in pairs]
    content = "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows).encode()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rows"
        path.write_bytes(content)
        found = list(read_conversations(path, DatasetFormat.PROMPT_COMPLETION))
    assert found == [TextPair(*pair) for pair in pairs]
