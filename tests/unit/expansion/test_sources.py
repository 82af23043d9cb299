"""What is read, what an earlier run is known by, and what is written."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.commands.data_expand import wishes
from cli.expansion import sources
from cli.expansion.result import Result
from cli.expansion.sources import Expansion, go_on, read_rows
from services.common.errors import DomainError, Reason
from services.common.rows.model import DatasetFormat
from tests.unit.expansion.rows import alpaca, read, write

ROWS = [alpaca("One?"), alpaca("Two?"), alpaca("Three?")]


def of(rows: sources.Rows, place: int, question: str) -> dict[str, Any]:
    return alpaca(question, synthetic_of=rows.rows[place].digest.hex())


def missing(expansion: Expansion, variants: int) -> list[tuple[str, int]]:
    return [(wish.turn.question, wish.variant) for wish in wishes(expansion, variants)]


def test_an_array_is_read_and_written_as_lines(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps(ROWS, indent=4))
    expansion = Expansion(read_rows(tmp_path / "rows.json", None))
    expansion.add("{}", expansion.original.rows[0].example)  # of no source: not taken
    assert expansion.variant_count == 0
    found = read(tmp_path / "made", of(expansion.original, 1, "The second?"))
    expansion.add(found.rows[0].line, found.rows[0].example)
    assert Result(tmp_path / "out", expansion).save() == 1
    lines = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert lines == [*ROWS, of(expansion.original, 1, "The second?")]
    assert go_on(expansion.original, tmp_path / "out").variant_count == 1


def test_what_is_there_is_not_asked_for_again(tmp_path: Path) -> None:
    original = read(tmp_path / "rows", *ROWS)
    assert missing(go_on(original, tmp_path / "out"), 2) == [
        (question, variant) for question in ("One?", "Two?", "Three?") for variant in (0, 1)
    ]
    write(tmp_path / "out", *ROWS, of(original, 0, "First?"), of(original, 0, "1st?"), of(original, 2, "Third?"))
    expansion = go_on(original, tmp_path / "out")
    assert missing(expansion, 2) == [("Two?", 0), ("Two?", 1), ("Three?", 1)]
    assert missing(expansion, 1) == [("Two?", 0)]


def test_rows_may_be_added_and_moved_and_written_otherwise_between_two_runs(tmp_path: Path) -> None:
    before = read(tmp_path / "rows", *ROWS)
    write(tmp_path / "out", *ROWS, of(before, 0, "First?"))
    (tmp_path / "rows.json").write_text(json.dumps([alpaca("Four?"), *ROWS[::-1]], indent=2))
    expansion = go_on(read_rows(tmp_path / "rows.json", None), tmp_path / "out")
    assert missing(expansion, 1) == [("Four?", 0), ("Three?", 0), ("Two?", 0)]


def test_variants_among_the_rows_count_and_stay_where_they_are(tmp_path: Path) -> None:
    plain = read(tmp_path / "plain", *ROWS)
    given = [of(plain, 1, "The 2nd?"), *ROWS, alpaca("Whose?", synthetic_of="0" * 32)]
    original = read(tmp_path / "rows", *given)
    expansion = go_on(original, tmp_path / "out")
    assert missing(expansion, 1) == [("One?", 0), ("Three?", 0)]
    made = read(tmp_path / "made", of(plain, 0, "First?")).rows[0]
    expansion.add(made.line, made.example)
    Result(tmp_path / "out", expansion).save()
    again = go_on(original, tmp_path / "out")
    assert (again.variant_count, missing(again, 1)) == (1, [("Three?", 0)])


def test_equal_rows_are_expanded_once(tmp_path: Path) -> None:
    assert missing(Expansion(read(tmp_path / "rows", *ROWS, *ROWS)), 1) == missing(
        Expansion(read(tmp_path / "rows", *ROWS)), 1
    )


@pytest.mark.parametrize(
    "content",
    [
        b"a letter\n",
        b"",
        b"PAR1....",
        json.dumps(alpaca("Somebody's row")).encode(),
        json.dumps(alpaca("Somebody's variant", synthetic_of="0" * 32)).encode(),
        json.dumps({"prompt": "a", "completion": "b"}).encode(),
    ],
)
def test_what_does_not_come_from_the_rows_is_not_overwritten(tmp_path: Path, content: bytes) -> None:
    original = read(tmp_path / "rows", *ROWS)
    (tmp_path / "out").write_bytes(content)
    with pytest.raises(DomainError, match="exists and is not what was made from these rows") as raised:
        go_on(original, tmp_path / "out")
    assert raised.value.reason is Reason.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("content", "reason", "said"),
    [
        (b"PAR1", Reason.INVALID_ARGUMENT, "is Parquet"),
        (b"", Reason.DATASET_EMPTY, "holds no row"),
        (b"[]", Reason.DATASET_EMPTY, "holds no row"),
        (b'{"instruction": "a", "output": "b"}\n{"instruction": "a"}', Reason.DATASET_INVALID, "rows:2 output: "),
        (b'{"instruction": "a", "output": "b", "synthetic_of": 1}', Reason.DATASET_INVALID, "rows:1 synthetic_of: "),
        (b"\xff\xfe", Reason.DATASET_INVALID, "UTF-16"),
    ],
)
def test_what_holds_no_rows_is_refused(tmp_path: Path, content: bytes, reason: Reason, said: str) -> None:
    (tmp_path / "rows").write_bytes(content)
    with pytest.raises(DomainError, match=said) as raised:
        read_rows(tmp_path / "rows", None)
    assert raised.value.reason is reason


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DomainError, match="Cannot read"):
        read_rows(tmp_path / "rows", None)


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "rows", *ROWS)
    monkeypatch.setattr(sources, "MOST_ROWS", 2)
    with pytest.raises(DomainError, match="more than 2 rows") as raised:
        read_rows(file, None)
    assert raised.value.reason is Reason.LIMIT_EXCEEDED
    monkeypatch.setattr(sources, "MOST_BYTES", 10)
    with pytest.raises(DomainError, match="at most 10"):
        read_rows(file, None)


def test_a_named_format_counts(tmp_path: Path) -> None:
    row = {"prompt": "a", "completion": "b", "output": "c"}
    assert read_rows(write(tmp_path / "rows", row), DatasetFormat.PROMPT_COMPLETION).rows[0].turn is not None
    with pytest.raises(DomainError, match="in prompt/completion format, the file in Alpaca"):
        read_rows(write(tmp_path / "rows", {"prompt": "a", "completion": "b"}), DatasetFormat.ALPACA)


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    expansion = Expansion(read(tmp_path / "rows", *ROWS))
    made = read(tmp_path / "made", of(expansion.original, 0, "First?")).rows[0]
    expansion.add(made.line, made.example)
    with pytest.raises(DomainError, match="Cannot write"):
        Result(tmp_path / "nowhere" / "out", expansion).save()
