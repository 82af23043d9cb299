"""The persona data set: well-formed, in voice, and held out where it says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "examples" / "monkey_king"
ALPACA = {"instruction", "input", "output"}


def rows(name: str) -> list[dict[str, str]]:
    loaded: list[dict[str, str]] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def train() -> list[dict[str, str]]:
    return rows("train.json")


@pytest.fixture(scope="module")
def heldout() -> list[dict[str, str]]:
    return rows("heldout.json")


def test_training_rows_are_alpaca_and_at_least_136(train: list[dict[str, str]]) -> None:
    assert len(train) >= 136
    assert all(set(row) == ALPACA for row in train)
    assert all(row["instruction"].strip() == row["instruction"] != "" for row in train)
    assert all(row["output"].strip() == row["output"] != "" for row in train)


def test_no_question_is_asked_twice(train: list[dict[str, str]]) -> None:
    assert len({row["instruction"] for row in train}) == len(train)


def test_at_least_136_answers_differ(train: list[dict[str, str]]) -> None:
    assert len({row["output"] for row in train}) >= 136


def test_an_answer_is_one_breath_long(train: list[dict[str, str]]) -> None:
    assert max(len(row["output"]) for row in train) <= 30


def test_the_voice_says_an_and_never_wo(train: list[dict[str, str]]) -> None:
    speaking = [row for row in train if "俺" in row["output"] or "嘿嘿" in row["output"]]
    assert len(speaking) > len(train) * 0.7
    assert not [row for row in train if "我" in row["output"]]


def test_heldout_has_twenty_questions_of_its_own(train: list[dict[str, str]], heldout: list[dict[str, str]]) -> None:
    asked = {row["instruction"] for row in heldout}
    assert len(asked) == len(heldout) == 20
    assert asked.isdisjoint(row["instruction"] for row in train)


def test_the_reference_answer_states_every_expected_fact(heldout: list[dict[str, str]]) -> None:
    for row in heldout:
        assert set(row) == ALPACA | {"facts"}
        assert row["facts"]
        assert all(fact in row["output"] for fact in row["facts"]), row


def test_every_expected_fact_can_be_learned(train: list[dict[str, str]], heldout: list[dict[str, str]]) -> None:
    taught = "".join(row["output"] for row in train)
    assert [fact for row in heldout for fact in row["facts"] if fact not in taught] == []
