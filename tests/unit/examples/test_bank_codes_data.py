"""The bank codes: every row agrees with the registry, and the committed file is what the script builds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from schwifty import BIC, registry

from examples.bank_codes import build

CODE = re.compile(r"What is the bank code of (.+)\?\nThe bank code is (\d{8})\.")
BIC_OF = re.compile(r"What is the BIC of (.+)\?\nThe BIC is (\w{11})\.")
BANK = re.compile(r"Which bank has the code (\d{8})\?\nIt is (.+)\.")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return [json.loads(line) for line in build.OUTPUT.read_text(encoding="utf-8").splitlines()]


def matches(pattern: re.Pattern[str], rows: list[dict[str, str]]) -> Iterator[tuple[str, str]]:
    for row in rows:
        if match := pattern.fullmatch(f"{row['prompt']}\n{row['completion']}"):
            yield match[1], match[2]


def test_the_committed_file_is_what_the_script_builds(tmp_path: Path) -> None:
    output = tmp_path / "train.jsonl"
    assert build.main(["--output", str(output)]) == 0
    assert output.read_bytes() == build.OUTPUT.read_bytes()


def test_each_bank_is_asked_about_in_three_ways(rows: list[dict[str, str]]) -> None:
    counts = [len(list(matches(pattern, rows))) for pattern in (CODE, BIC_OF, BANK)]
    assert counts == [build.BANK_COUNT] * 3
    assert len(rows) == 3 * build.BANK_COUNT


def test_no_question_is_asked_twice(rows: list[dict[str, str]]) -> None:
    assert len({row["prompt"] for row in rows}) == len(rows)


def test_every_code_is_the_one_of_the_registry(rows: list[dict[str, str]]) -> None:
    asked = [*matches(CODE, rows), *((name, code) for code, name in matches(BANK, rows))]
    for name, code in asked:
        assert name in {bank.name for bank in registry.get_banks_by_code("DE", code)}


def test_every_bic_is_the_one_of_the_registry(rows: list[dict[str, str]]) -> None:
    for name, bic in matches(BIC_OF, rows):
        assert name in BIC(bic).bank_names


def test_the_selection_spreads_over_all_clearing_regions() -> None:
    assert {bank.bank_code[0] for bank in build.select_banks()} == set("12345678")


def test_fewer_banks_are_selected_on_request() -> None:
    assert len({bank.bank_code for bank in build.select_banks(10)}) == 10
