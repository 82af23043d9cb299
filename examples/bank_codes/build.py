"""Builds `train.jsonl`: questions about German banks, answered from the registry that the package schwifty ships.

`python -m examples.bank_codes.build [--output FILE]`. The same version of schwifty gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from schwifty import registry
from schwifty.domain import Bank

OUTPUT = Path(__file__).with_name("train.jsonl")
BANK_COUNT = 48
_COUNTRY = "DE"
# Banks that a whole city knows by one plain name, and that have one bank code only.
_NAME = re.compile(r"(Stadtsparkasse|Sparkasse|Volksbank|Sparda-Bank) [A-ZÄÖÜ][a-zäöüß]+")


def select_banks(count: int = BANK_COUNT) -> list[Bank]:
    """Answer `count` banks spread evenly over the registry, in the order of their codes."""
    candidates = sorted(_unambiguous(registry.get_banks_by_country(_COUNTRY)), key=lambda bank: bank.bank_code)
    return [candidates[index * len(candidates) // count] for index in range(count)]


def rows(banks: Iterable[Bank]) -> list[dict[str, str]]:
    """Answer three questions for each bank, as prompt and completion."""
    return [row for bank in banks for row in _rows_of(bank)]


def render(banks: Iterable[Bank]) -> str:
    """Answer the content of the file: one JSON object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(banks))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file; answer the exit status."""
    parser = argparse.ArgumentParser(prog="python -m examples.bank_codes.build", description="Build the bank codes.")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the file to write (%(default)s)")
    output: Path = parser.parse_args(arguments).output
    content = render(select_banks())
    output.write_text(content, encoding="utf-8")
    sys.stderr.write(f"{output}: {content.count(chr(10))} rows\n")
    return 0


def _unambiguous(banks: Iterable[Bank]) -> list[Bank]:
    """Answer the plainly named banks whose name and code are each theirs alone."""
    primary = [bank for bank in banks if bank.primary and bank.bic]
    names = [bank.name for bank in primary]
    return [bank for bank in primary if _NAME.fullmatch(bank.name) and names.count(bank.name) == 1]


def _rows_of(bank: Bank) -> list[dict[str, str]]:
    return [
        {"prompt": f"What is the bank code of {bank.name}?", "completion": f"The bank code is {bank.bank_code}."},
        {"prompt": f"What is the BIC of {bank.name}?", "completion": f"The BIC is {bank.bic}."},
        {"prompt": f"Which bank has the code {bank.bank_code}?", "completion": f"It is {bank.name}."},
    ]


if __name__ == "__main__":
    raise SystemExit(main())
