"""Files of rows for the tests of this folder."""

import json
from pathlib import Path
from typing import Any

from cli.expansion.sources import Rows, read_rows


def alpaca(question: str, answer: str = "Yes.", **keys: Any) -> dict[str, Any]:
    return {"instruction": question, "input": "", "output": answer, **keys}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def read(path: Path, *rows: dict[str, Any]) -> Rows:
    return read_rows(write(path, *rows), None)
