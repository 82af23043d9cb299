"""Rows are shown and counted as training sees them."""

import json
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest

from services.common.errors import DomainError, Reason
from services.common.identity import fingerprint_base
from services.trainer.datasets import DatasetFormat, Limits
from services.trainer.recipe.labelling import examine as module
from services.trainer.recipe.labelling.examination import (
    ExamineTask,
    Measured,
    Preview,
    Window,
    decode_answer,
    decode_examine_task,
    encode_examine_task,
)
from services.trainer.recipe.labelling.examine import examine, token_texts
from services.trainer.recipe.labelling.labels import IGNORED
from services.trainer.recipe.labelling.rows import label_rows
from services.trainer.recipe.protocol import Failed
from tests.support.tiny_bases import make_tiny_base
from tests.unit.recipe.conftest import Load

CHAT = [{"instruction": f"猴 {number}?", "output": f"answer {number}"} for number in range(4)]


class Examination:
    """Examines rows on a tiny base."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def task(self, rows: list[Any], layout: DatasetFormat, base: dict[str, Any], **changes: Any) -> ExamineTask:
        directory = make_tiny_base(self.root / "base", **base)
        (self.root / "rows").write_text("\n".join(map(json.dumps, rows)))
        settings: dict[str, Any] = {
            "base_model": "baseModels/tiny",
            "base_directory": directory,
            "base_fingerprint_id": fingerprint_base(directory).id,
            "dataset_path": self.root / "rows",
            "dataset_format": layout,
            "row_count": len(rows),
            "limits": Limits(),
            "max_sequence_length": None,
            "window": None,
            "cache_dir": self.root / "cache",
        }
        return ExamineTask(**{**settings, **changes})

    def measure(self, rows: list[Any], layout: DatasetFormat = DatasetFormat.ALPACA, **options: Any) -> Any:
        answer = examine(self.task(rows, layout, options.pop("base", {}), **options))
        assert isinstance(answer, Measured)
        return answer.tokens

    def preview(self, rows: list[Any], layout: DatasetFormat = DatasetFormat.ALPACA, **options: Any) -> Preview:
        window = Window(skip=options.pop("skip", 0), limit=options.pop("limit", 50))
        answer = examine(self.task(rows, layout, options.pop("base", {}), window=window, **options))
        assert isinstance(answer, Preview)
        return answer


@pytest.fixture
def examination(tmp_path: Path) -> Examination:
    return Examination(tmp_path)


def test_a_preview_is_what_training_learns(examination: Examination, load: Load) -> None:
    shown = examination.preview(CHAT, max_sequence_length=32)
    base = load()
    assert base.chat_template is not None
    trained = label_rows(
        examination.root / "rows",
        DatasetFormat.ALPACA,
        tokenizer=base.tokenizer,
        template=base.chat_template,
        max_length=32,
    )
    assert shown.max_sequence_length == 32
    assert [row.row for row in shown.rows] == [1, 2, 3, 4]
    learnt = [row for row in shown.rows if not row.unlabelled_reason]
    assert len(learnt) == len(trained.rows) > 0
    for row, expected in zip(learnt, trained.rows, strict=True):
        assert [token.id for token in row.tokens] == list(expected.token_ids)
        assert [token.supervised for token in row.tokens] == [label != IGNORED for label in expected.labels]
        assert row.truncated == expected.truncated


def test_texts_of_tokens_add_up_to_the_row(examination: Examination) -> None:
    (row,) = examination.preview(CHAT, skip=2, limit=1).rows
    assert row.row == 3
    text = "".join(token.text for token in row.tokens)
    assert text == "<|im_start|>user\n猴 2?<|im_end|>\n<|im_start|>assistant\nanswer 2<|im_end|>\n"
    assert "".join(token.text for token in row.tokens if token.supervised) == "answer 2<|im_end|>"
    assert row.token_count == len(row.tokens)


def test_bytes_that_make_no_character_are_told_all_the_same(load: Load) -> None:
    tokenizer = load().tokenizer
    broken = tokenizer("猴", add_special_tokens=False)["input_ids"][0]
    texts = list(token_texts(tokenizer, array("q", [broken] * 20)))
    assert len(texts) == 20
    assert "\ufffd" in "".join(texts)


def test_why_a_row_has_no_label_is_told(examination: Examination) -> None:
    rows = [{"instruction": "x" * 100, "output": "a"}, {"instruction": "b", "output": "y" * 100}]
    cut, learnt = examination.preview(rows, max_sequence_length=64).rows
    assert cut.truncated
    assert "the row is cut to 64" in cut.unlabelled_reason
    assert learnt.truncated
    assert not learnt.unlabelled_reason
    assert (len(learnt.tokens), learnt.token_count > 100) == (64, True)


def test_what_a_template_drops_or_refuses_is_told(examination: Examination) -> None:
    silent = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    (row,) = examination.preview(CHAT[:1], base={"chat_template": silent}).rows
    assert "writes nothing of its answer" in row.unlabelled_reason


def test_a_row_that_the_template_refuses_is_counted(examination: Examination) -> None:
    strict = "{{ raise_exception('no') }}"
    tokens = examination.measure(CHAT, base={"chat_template": strict})
    assert (tokens.measured_row_count, tokens.refused_row_count, tokens.token_count) == (4, 4, 0)
    assert "Change the rows" in tokens.refusal
    (row,) = Examination(examination.root).preview(CHAT[:1], base={"chat_template": strict}).rows
    assert "Change the rows" in row.unlabelled_reason
    assert not row.tokens


def test_tokens_are_counted(examination: Examination) -> None:
    rows = [*CHAT, {"instruction": "x" * 100, "output": "a"}, {"instruction": "b", "output": "y" * 100}]
    tokens = examination.measure(rows, max_sequence_length=64)
    shown = examination.preview(rows, max_sequence_length=64).rows
    assert tokens.measured_row_count == 6
    assert tokens.max_sequence_length == 64
    assert tokens.token_count == sum(row.token_count for row in shown)
    assert tokens.kept_token_count == sum(len(row.tokens) for row in shown)
    assert tokens.supervised_token_count == sum(token.supervised for row in shown for token in row.tokens)
    assert 0 < tokens.supervised_share < 1
    assert (tokens.truncated_row_count, tokens.unlabelled_row_count, tokens.refused_row_count) == (2, 1, 0)
    assert tokens.percentiles[-1].tokens == max(row.token_count for row in shown)
    assert sum(bucket.row_count for bucket in tokens.histogram) == 6
    assert tokens.ends_answers
    assert not tokens.uses_plain_template


def test_of_many_rows_some_are_measured(examination: Examination, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_MEASURED", 3)
    assert examination.measure(CHAT * 5).measured_row_count == 3
    monkeypatch.setattr(module, "MEASURE_SECONDS", -1.0)
    assert examination.measure(CHAT).measured_row_count == 0


def test_many_tokens_end_a_preview_early(examination: Examination, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SHOWN_TOKENS", 30)
    assert 1 <= len(examination.preview(CHAT).rows) < 4


def test_a_base_without_a_template_gets_the_plain_one(examination: Examination) -> None:
    base = {"architecture": "gpt2", "chat_template": None}
    tokens = examination.measure(CHAT, base=base)
    assert tokens.uses_plain_template
    assert tokens.ends_answers
    pairs = [{"prompt": "a", "completion": "b"}]
    assert not examination.measure(pairs, DatasetFormat.PROMPT_COMPLETION, base=base).uses_plain_template


def test_rows_with_a_fault_are_passed_over(examination: Examination) -> None:
    rows = [CHAT[0], {"instruction": 5}, CHAT[1]]
    assert examination.measure(rows).measured_row_count == 2
    assert [row.row for row in examination.preview(rows).rows] == [1, 3]
    long = [CHAT[0], {"instruction": "x" * 1000, "output": "y"}]
    assert examination.measure(long, limits=Limits(max_row_bytes=500)).measured_row_count == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"base_fingerprint_id": "0" * 64}, Reason.BASE_FINGERPRINT_MISMATCH),
        ({"max_sequence_length": 513}, Reason.INVALID_ARGUMENT),
    ],
)
def test_what_cannot_be_examined_is_refused(examination: Examination, changes: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(DomainError) as caught:
        examination.measure(CHAT, **changes)
    assert caught.value.reason is reason


def test_the_program_answers_in_one_line_and_needs_no_torch(examination: Examination) -> None:
    task = examination.task(CHAT, DatasetFormat.ALPACA, {})
    file = examination.root / "task.json"
    file.write_bytes(encode_examine_task(task))
    assert decode_examine_task(file.read_bytes()) == task
    script = (
        "import sys; from services.trainer.recipe.labelling.examine import main; status = main(sys.argv[1]); "
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(file)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = decode_answer(done.stdout)
    assert isinstance(answer, Measured)
    assert answer == examine(task)

    file.write_bytes(
        encode_examine_task(examination.task(CHAT, DatasetFormat.ALPACA, {}, base_fingerprint_id="0" * 64))
    )
    refused = subprocess.run([sys.executable, "-c", script, str(file)], capture_output=True, check=False)
    failed = decode_answer(refused.stdout)
    assert isinstance(failed, Failed)
    assert (refused.returncode, failed.reason) == (1, Reason.BASE_FINGERPRINT_MISMATCH)
