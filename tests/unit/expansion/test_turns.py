"""What of a row is reworded, and that all else stays."""

from pathlib import Path
from typing import Any

import pytest

from cli.expansion.turns import Turn, rewritten
from tests.unit.expansion.rows import read

CASES: dict[str, tuple[dict[str, Any], Turn, dict[str, Any], dict[str, Any]]] = {
    "alpaca": (
        {"instruction": " Name it. ", "input": "", "output": "Ape", "id": 7},
        Turn("Name it.", "Ape"),
        {"instruction": "Q", "input": "", "output": "Ape", "id": 7},
        {"instruction": "Q", "input": "", "output": "A", "id": 7},
    ),
    "alpaca with an input, which stays": (
        {"instruction": "Translate.", "input": "猴", "output": "Ape", "history": [["a", "b"]]},
        Turn("Translate.", "Ape"),
        {"instruction": "Q", "input": "猴", "output": "Ape", "history": [["a", "b"]]},
        {"instruction": "Q", "input": "猴", "output": "A", "history": [["a", "b"]]},
    ),
    "alpaca that asks by its input": (
        {"instruction": " ", "input": "Name it.", "output": "Ape"},
        Turn("Name it.", "Ape"),
        {"instruction": " ", "input": "Q", "output": "Ape"},
        {"instruction": " ", "input": "Q", "output": "A"},
    ),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "Name it."}, {"from": "gpt", "value": "Ape", "weight": 1}]},
        Turn("Name it.", "Ape"),
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "Ape", "weight": 1}]},
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A", "weight": 1}]},
    ),
    "sharegpt as others write it": (
        {"conversations": [{"role": "user", "content": "Name it."}, {"role": "assistant", "content": "Ape"}]},
        Turn("Name it.", "Ape"),
        {"conversations": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "Ape"}]},
        {"conversations": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
    ),
    "chat: the last turn alone": (
        {
            "messages": [
                {"role": "system", "content": "S"},
                {"role": "user", "content": "One?"},
                {"role": "assistant", "content": "1"},
                {"role": "user", "content": [{"type": "text", "text": "Name "}, {"type": "text", "text": "it."}]},
                {"role": "assistant", "content": "Ape"},
            ]
        },
        Turn("Name it.", "Ape"),
        {
            "messages": [
                {"role": "system", "content": "S"},
                {"role": "user", "content": "One?"},
                {"role": "assistant", "content": "1"},
                {"role": "user", "content": "Q"},
                {"role": "assistant", "content": "Ape"},
            ]
        },
        {
            "messages": [
                {"role": "system", "content": "S"},
                {"role": "user", "content": "One?"},
                {"role": "assistant", "content": "1"},
                {"role": "user", "content": "Q"},
                {"role": "assistant", "content": "A"},
            ]
        },
    ),
    "prompt and completion, with the blanks around them": (
        {"prompt": "\nName it. ", "completion": " Ape\n"},
        Turn("Name it.", " Ape\n"),
        {"prompt": "\nQ ", "completion": " Ape\n"},
        {"prompt": "\nQ ", "completion": " A\n"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_last_question_is_reworded_and_its_answer_where_asked(tmp_path: Path, name: str) -> None:
    row, turn, reworded, answered = CASES[name]
    found = read(tmp_path / "rows", row)
    assert found.rows[0].turn == turn
    assert rewritten(found.rows[0].fields, found.layout, "Q", None) == reworded
    assert rewritten(found.rows[0].fields, found.layout, "Q", "A") == answered
    assert found.rows[0].fields == row


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": " ", "completion": "Once"},
        {"instruction": "a", "output": "b", "synthetic_of": "0" * 32},
        {
            "messages": [
                {"role": "user", "content": "One?"},
                {"role": "assistant", "content": "1"},
                {"role": "user", "content": "Two?"},
                {"role": "assistant", "content": "2", "weight": 0},
            ]
        },
    ],
)
def test_rows_of_which_nothing_is_reworded(tmp_path: Path, row: dict[str, Any]) -> None:
    assert read(tmp_path / "rows", row).rows[0].turn is None
