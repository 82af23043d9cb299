"""Which rows are learnt and which are measured on."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from services.common.errors import DomainError, Reason
from services.common.rows.content import content_digest
from services.trainer.datasets import DatasetFormat, TextPair
from services.trainer.recipe.events import Events
from services.trainer.recipe.labelling.data import Data, read_data
from services.trainer.recipe.protocol import Note, RecipeTask, decode
from tests.unit.recipe.conftest import Load

ROWS = [{"prompt": f"{number}: ", "completion": f"{number * 7}"} for number in range(60)]


class Reading:
    """Reads rows as a run does."""

    def __init__(self, load: Load, root: Path) -> None:
        self.base = load()
        self.root = root

    def __call__(
        self, rows: list[Any], validation: list[Any] | None = None, fraction: float | None = None
    ) -> tuple[Data, str]:
        (self.root / "rows").write_text("\n".join(map(json.dumps, rows)))
        (self.root / "validation").write_text("\n".join(map(json.dumps, validation or [])))
        task = RecipeTask(
            base_model="baseModels/tiny",
            base_directory=self.root,
            base_fingerprint_id="0" * 64,
            dataset_path=self.root / "rows",
            dataset_format=DatasetFormat.PROMPT_COMPLETION,
            validation_path=self.root / "validation" if validation else None,
            validation_format=DatasetFormat.PROMPT_COMPLETION if validation else None,
            validation_fraction=fraction,
            output_directory=self.root / "out",
        )
        stream = io.StringIO()
        data = read_data(task, self.base, Events(stream))
        events = [decode(line) for line in stream.getvalue().splitlines()]
        return data, "\n".join(event.text for event in events if isinstance(event, Note))


@pytest.fixture
def read(load: Load, tmp_path: Path) -> Reading:
    return Reading(load, tmp_path)


def ids(data: Any) -> set[tuple[int, ...]]:
    return {tuple(row.token_ids) for row in data}


def test_a_tenth_of_fifty_rows_is_held_out_unasked(read: Reading) -> None:
    data, notes = read(ROWS)
    assert (len(data.rows), len(data.validation)) == (54, 6)
    assert "6 of 60 rows are held out" in notes
    assert not ids(data.rows) & ids(data.validation)
    assert ids(read(ROWS[::-1])[0].validation) == ids(data.validation)


def test_few_rows_are_all_learnt(read: Reading) -> None:
    data, notes = read(ROWS[:49])
    assert (len(data.rows), len(data.validation)) == (49, 0)
    assert "held out" not in notes
    # It is different rows that count.
    assert not read(ROWS[:49] * 2)[0].validation


@pytest.mark.parametrize(("fraction", "count"), [(0.0, 0), (0.25, 15), (0.5, 30)])
def test_a_fraction_may_be_asked_for(read: Reading, fraction: float, count: int) -> None:
    assert len(read(ROWS, fraction=fraction)[0].validation) == count


def test_equal_rows_are_on_one_side(read: Reading) -> None:
    data, _ = read([row for row in ROWS for _ in range(3)], fraction=0.25)
    assert (len(data.rows), len(data.validation)) == (135, 45)
    assert not ids(data.rows) & ids(data.validation)


def test_given_validation_rows_that_are_learnt_too_are_left_out(read: Reading) -> None:
    other = [{"prompt": "x", "completion": "y"}, {"prompt": "x", "completion": "z"}]
    data, notes = read(ROWS, validation=[*other, *ROWS[:3]])
    assert (len(data.rows), len(data.validation)) == (60, 2)
    assert "3 rows of the validation data set are left out" in notes
    assert "left out" not in read(ROWS, validation=other)[1]


def test_rows_without_a_label_are_not_held_out(read: Reading) -> None:
    long = [{"prompt": f"{number}" + "x" * 3000, "completion": "y"} for number in range(60)]
    data, _ = read([*ROWS[:10], *long], fraction=0.5)
    assert (len(data.rows), len(data.validation)) == (5, 5)


def variants(rows: list[Any], count: int = 2) -> list[Any]:
    """So many rows made from each, with its answer."""
    made = []
    for row in rows:
        source = content_digest(TextPair(row["prompt"], row["completion"])).hex()
        made += [{**row, "prompt": f"{row['prompt']}again {n} ", "synthetic_of": source} for n in range(count)]
    return made


def test_no_variant_of_a_held_out_row_is_learnt(read: Reading) -> None:
    data, notes = read([*variants(ROWS), *ROWS])
    assert (len(data.rows), len(data.validation), data.withheld) == (54 * 3, 6, 12)
    assert "6 of 180 rows are held out to measure on (0.1 of the 60 different ones)" in notes
    assert "12 synthetic rows are not learnt" in notes
    # The held-out rows are those that would be held out without variants, and their answers are in no learnt row.
    assert ids(data.validation) == ids(read(ROWS)[0].validation)
    answers = {tuple(row.token_ids[row.prompt_length :]) for row in data.validation}
    assert answers
    assert not answers & {tuple(row.token_ids[row.prompt_length :]) for row in data.rows}


def test_variants_do_not_make_enough_rows_to_hold_some_out(read: Reading) -> None:
    data, notes = read([*ROWS[:20], *variants(ROWS[:20], 5)])
    assert (len(data.rows), len(data.validation), data.withheld, notes) == (120, 0, 0, "")


def test_rows_that_are_all_synthetic_are_all_learnt(read: Reading) -> None:
    data, _ = read(variants(ROWS), fraction=0.5)
    assert (len(data.rows), len(data.validation), data.withheld) == (120, 0, 0)


def test_variants_of_rows_that_are_not_there_are_learnt_only_where_nothing_is_held_out(read: Reading) -> None:
    edited = [{**row, "prompt": f"No. {row['prompt']}"} for row in ROWS]
    data, notes = read([*edited, *variants(ROWS, 1)])
    assert (len(data.rows), len(data.validation), data.withheld) == (54, 6, 60)
    assert "are not among those that are learnt" in notes
    assert len(read([*edited, *variants(ROWS, 1)], fraction=0)[0].rows) == 120


def test_a_validation_data_set_is_not_measured_on_its_synthetic_rows_nor_learnt_by_variants(read: Reading) -> None:
    other = [{"prompt": f"{name}: ", "completion": name[::-1]} for name in ("Apis", "Bes", "Chepre")]
    data, notes = read([*ROWS, *variants(ROWS, 1), *variants(other)], validation=[*other, *variants(other, 1)])
    assert (len(data.rows), len(data.validation), data.withheld) == (120, 3, 6)
    assert "3 rows of the validation data set are left out: they are synthetic" in notes
    assert "6 synthetic rows are not learnt" in notes
    with pytest.raises(DomainError, match="All 6 rows are synthetic") as raised:
        read(variants(other), validation=other)
    assert raised.value.reason is Reason.NOTHING_TO_LEARN
