"""Rows are parsed fast where they are right, and exactly where they may not be: the outcome is the same."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.rows import parse as module
from services.common.rows.cut import RawRow
from services.common.rows.parse import parse_row
from services.trainer.datasets import Fault

KEYS = st.sampled_from(["a", "b", ":", '"', " :", "猴"])
SPACE = st.sampled_from(["", " ", "\t", "\n", "\r\n"])
SCALARS = st.sampled_from(["1", '"x"', '":"', '"a\\": 1"', '" : "', "null", '"\\ud800"', "NaN", "tru", '"\t"', "1e999"])


def raw(text: str | bytes) -> RawRow:
    return RawRow(1, 1, 0, text if isinstance(text, bytes) else text.encode())


@st.composite
def documents(draw: st.DrawFn, depth: int = 2) -> str:
    """JSON, or nearly, in which keys may come twice and white space may stand anywhere."""
    if depth == 0:
        return draw(SCALARS)
    if draw(st.integers(0, 3)) == 0:
        items = draw(st.lists(documents(depth - 1), max_size=2))
        return "[" + ",".join(items) + "]"
    pairs = draw(st.lists(st.tuples(KEYS, SPACE, SPACE, documents(depth - 1)), max_size=4))
    return "{" + ",".join(f"{json.dumps(key)}{before}:{after}{value}" for key, before, after, value in pairs) + "}"


@given(document=documents())
@settings(max_examples=300, deadline=None)
def test_fast_and_exact_parsing_agree(document: str) -> None:
    row = raw(document)
    found, exact = parse_row(row), module._parse_exactly(row)
    assert isinstance(found, Fault) == isinstance(exact, Fault)
    assert repr(found) == repr(exact)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a" : 2}',
        '{"a" : 1, "b": 2, "a"\n: 3}',
        '{"x": {"k": 1, "k": 2}, "y": ":"}',
        '{"x": [{"k"\t:1,"k"\r:2}]}',
        '{"\\u0061": 1, "a": 2}',
    ],
)
def test_a_key_that_comes_twice_is_found_however_it_is_written(text: str) -> None:
    fault = parse_row(raw(text))
    assert isinstance(fault, Fault)
    assert "occurs more than once" in fault.reason


def test_a_good_row_is_parsed_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(row: RawRow) -> Any:
        raise AssertionError(row)

    monkeypatch.setattr(module, "_parse_exactly", refuse)
    value = {"messages": [{"role": "user", "content": 'a: b, "c" 猴\n'}], "n": [1.5, None, {"k": True}]}
    assert parse_row(raw(json.dumps(value, ensure_ascii=False))) == value
    assert parse_row(raw(json.dumps(value, indent=2))) == value


def test_deep_nesting_is_left_to_the_exact_parser() -> None:
    deep = b'{"a":' * 990 + b"1" + b"}" * 990
    assert isinstance(parse_row(raw(deep)), dict | Fault)
