"""Files as a whole: layout, encoding, limits, detection, statistics."""

import json
from typing import Any

import pytest

from services.trainer.datasets import DatasetFormat, Limits
from tests.unit.datasets.conftest import Check, json_lines

ROW = {"instruction": "a", "input": "", "output": "答"}
LINE = json.dumps(ROW, ensure_ascii=False).encode()


def places(faults: Any) -> list[tuple[int, int]]:
    return [(fault.line, fault.row) for fault in faults]


@pytest.mark.parametrize(
    "content",
    [
        LINE + b"\n" + LINE + b"\n",
        LINE + b"\r\n\r\n  \n" + LINE,
        b"\xef\xbb\xbf" + LINE + b"\n" + LINE,
        b"[" + LINE + b"," + LINE + b"]",
        b"\xef\xbb\xbf \n[\n" + LINE + b" ,\n " + LINE + b"\n]\n\n",
        json.dumps([ROW, ROW], indent=2).encode(),
    ],
)
def test_json_lines_and_arrays_are_read_alike(check: Check, content: bytes) -> None:
    faults, summary = check(content)
    assert not faults
    assert summary.format is DatasetFormat.ALPACA
    assert summary.statistics.row_count == 2
    assert summary.statistics.duplicate_row_count == 1
    assert summary.statistics.answer_count == 2
    assert summary.statistics.answer_characters == 2


@pytest.mark.parametrize("content", [b"", b"\n \n", b"[]", b" [ \n ] \n", b"\xef\xbb\xbf"])
def test_an_empty_file_says_so(check: Check, content: bytes) -> None:
    faults, summary = check(content)
    assert [fault.reason for fault in faults] == ["The file holds no row."]
    assert summary.is_empty
    assert summary.format is None


def test_a_row_that_is_not_utf8_is_told_with_byte_and_line(check: Check) -> None:
    bad = '{"instruction": "猴王", "output": "x"}'.encode("gbk")
    faults, summary = check(LINE + b"\n" + bad + b"\n" + LINE + b"\n")
    assert places(faults) == [(2, 2)]
    offset = len(LINE) + 1 + bad.index("猴王".encode("gbk"))
    assert f"byte {offset} of the file (0xba, in line 2)" in faults[0].reason
    assert summary.statistics.row_count == 2


def test_in_an_array_the_byte_and_line_are_those_of_the_file(check: Check) -> None:
    bad = b'{"instruction":\n"\xff", "output": "x"}'
    content = b"[\n" + LINE + b",\n\n" + bad + b"]"
    faults, _ = check(content)
    assert places(faults) == [(4, 2)]
    offset = content.index(b"\xff")
    assert f"byte {offset} of the file (0xff, in line 5)" in faults[0].reason


def test_utf16_is_named(check: Check) -> None:
    faults, summary = check(LINE.decode().encode("utf-16"))
    assert "UTF-16" in faults[0].reason
    assert not summary.is_empty


def test_a_row_above_the_limit_is_told_and_the_next_ones_read(check: Check) -> None:
    long = json.dumps({"instruction": "a\n" * 300, "output": "b"}).encode()
    limits = Limits(max_row_bytes=100)
    for content, line in (
        (b"\n".join([LINE, long, LINE]), 2),
        (b"[" + b",\n".join([LINE, long, b"7", LINE]) + b"]", 2),
        (LINE + b"\n" + long, 2),
    ):
        faults, summary = check(content, None, limits)
        assert places(faults)[0] == (line, 2)
        assert "at most 100 are allowed" in faults[0].reason
        assert summary.statistics.row_count == content.count(LINE)


@pytest.mark.parametrize(("before", "between", "after"), [(b"", b"\n", b""), (b"[", b",", b"]")])
def test_a_row_of_ten_megabytes_exceeds_the_default_limit(
    check: Check, before: bytes, between: bytes, after: bytes
) -> None:
    huge = b'{"instruction": "a", "output": "' + b"b" * 10_000_000 + b'"}'
    faults, summary = check(before + between.join([LINE, huge, LINE]) + after)
    assert [fault.row for fault in faults] == [2]
    assert f"{len(huge):,} bytes long; at most 8,388,608 are allowed" in faults[0].reason
    assert summary.statistics.row_count == 2


def test_lines_are_counted_through_a_row_too_long_to_keep(check: Check) -> None:
    long = b'{"instruction":' + b"\n" * 200 + b'"a", "output": "b"}'
    faults, _ = check(b"[" + long + b",\n7]", None, Limits(max_row_bytes=100))
    assert places(faults) == [(1, 1), (202, 2)]


def test_a_row_of_exactly_the_limit_is_read(check: Check) -> None:
    for content in (LINE + b"\n" + LINE, b"[" + LINE + b"," + LINE + b"]"):
        assert not check(content, None, Limits(max_row_bytes=len(LINE)))[0]
        assert len(check(content, None, Limits(max_row_bytes=len(LINE) - 1))[0]) == 2


def test_a_truncated_line_is_told(check: Check) -> None:
    faults, summary = check(LINE + b"\n" + LINE[:-10])
    assert places(faults) == [(2, 2)]
    assert "cut off" in faults[0].reason
    assert summary.statistics.row_count == 1


@pytest.mark.parametrize("cut", [1, 2, 5, 20])
def test_a_truncated_array_is_told_with_its_last_row(check: Check, cut: int) -> None:
    whole = b"[" + LINE + b",\n" + LINE + b"]"
    faults, summary = check(whole[:-cut])
    assert places(faults) == [(2, 2)]
    assert "cut off" in faults[0].reason
    assert summary.statistics.row_count == 1


@pytest.mark.parametrize("cut", range(1, 60))
def test_chunk_borders_do_not_matter(check: Check, monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    monkeypatch.setattr("services.common.rows.cut.CHUNK", cut)
    rows = [{"instruction": 'quote " and back \\ slash \\', "output": "[{,}]"}, {"instruction": "猴", "output": '\\"'}]
    faults, summary = check(json.dumps(rows, ensure_ascii=False, indent=1).encode())
    assert not faults
    assert summary.statistics.row_count == 2


@pytest.mark.parametrize(
    "text",
    ["\\", "\\\\", '"', '\\"', '\\\\"', '"\\', '\\\\\\"x', '"},{"', "]", "[{", '\n"', "\\" * 7, "{" * 9],
)
@pytest.mark.parametrize("depth", [0, 3, 8])
def test_arrays_are_cut_right_whatever_their_strings_hold(check: Check, text: str, depth: int) -> None:
    extra: object = text
    for _ in range(depth):
        extra = [extra]
    rows = [{"prompt": text, "completion": f"x{text}", "extra": extra}, {"prompt": "", "completion": text + "y"}]
    faults, summary = check(json.dumps([*rows, *rows]).encode())
    assert not faults
    assert (summary.statistics.row_count, summary.statistics.duplicate_row_count) == (4, 2)


def test_each_wrong_row_of_an_array_is_told_and_no_good_one_lost(check: Check) -> None:
    rows = [LINE, b"", LINE + LINE, b'{"instruction": "a",}', b"5", LINE]
    faults, summary = check(b"[" + b",\n".join(rows) + b"]")
    # The empty row is where the comma that ends it is.
    assert places(faults) == [(2, 2), (3, 3), (4, 4), (5, 5)]
    assert summary.statistics.row_count == 2


def test_what_follows_the_array_is_told(check: Check) -> None:
    faults, summary = check(b"[" + LINE + b",\n]\nmore")
    assert [fault.row for fault in faults] == [2, 0]
    assert "no row between two commas" in faults[0].reason
    assert "closing bracket" in faults[1].reason
    assert summary.fault_count == 2
    assert summary.statistics.faulty_row_count == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"instruction": "a", "output": "b", "output": "c"}', 'the key "output" occurs more than once'),
        (b"{'instruction': 'a'}", "Use double quotes"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"1" * 5000 + b"}", "cannot be read"),
        (b'"text"', "The row is a string"),
        (b"null", "The row is null"),
        (b'{"a": "\t"}', "Invalid control character"),
    ],
)
def test_a_line_that_is_no_json_object_is_told(check: Check, line: bytes, words: str) -> None:
    faults, summary = check(LINE + b"\n" + line + b"\n" + LINE)
    assert places(faults) == [(2, 2)]
    assert words in faults[0].reason
    assert summary.statistics.row_count == 2


def test_the_most_frequent_format_of_the_first_rows_counts(check: Check) -> None:
    odd = {"prompt": "a", "completion": "b"}
    faults, summary = check([odd, ROW, ROW, {"x": 1}])
    assert summary.format is DatasetFormat.ALPACA
    assert places(faults) == [(1, 1), (4, 4)]
    assert faults[0].reason == "The row is in prompt/completion format, the file in Alpaca. Keep one format per file."
    assert 'its keys are "x"' in faults[1].reason


def test_a_format_may_be_given(check: Check) -> None:
    both = {"prompt": "a", "completion": "b", "instruction": "c", "output": "d"}
    assert check([both])[1].format is DatasetFormat.ALPACA
    assert not check([both], DatasetFormat.PROMPT_COMPLETION)[0]
    assert places(check([ROW], DatasetFormat.SHAREGPT)[0]) == [(1, 1)]


def test_a_format_is_still_found_after_rows_that_tell_none(check: Check) -> None:
    faults, summary = check([{"x": 1}] * 10 + [ROW])
    assert summary.format is DatasetFormat.ALPACA
    assert len(faults) == 10


def test_values_are_quoted_short_and_printable(check: Check) -> None:
    faults, _ = check([{"conversations": [{"from": "\x1b[31m" + "x" * 500, "value": "a"}]}])
    assert "\x1b" not in faults[0].reason
    assert len(faults[0].reason) < 200


def test_statistics_count_multi_turn_answers_and_duplicates(check: Check) -> None:
    row = {"instruction": "c", "output": "ddd", "history": [["a", "bb"]]}
    _, summary = check(json_lines([row, row, ROW, {**row, "id": 5}, {"instruction": 5}]))
    statistics = summary.statistics
    assert (statistics.row_count, statistics.faulty_row_count, statistics.duplicate_row_count) == (4, 1, 2)
    assert (statistics.answer_count, statistics.answer_characters) == (7, 16)
