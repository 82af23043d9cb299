"""A whole run in this process: what it tells, what it refuses."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.common.errors import DomainError, Reason
from services.common.identity import fingerprint_base
from services.trainer.datasets import DatasetFormat
from services.trainer.recipe.events import Events
from services.trainer.recipe.protocol import Event, Finished, Note, RecipeHyperparameters, RecipeTask, Started, decode
from services.trainer.recipe.run import run
from tests.support.tiny_bases import make_tiny_base

Train = Callable[..., list[Event]]

CHAT = [{"instruction": f"{number}?", "output": f"answer {number}"} for number in range(4)]
PAIRS = [{"prompt": f"{number}, ", "completion": f"{number + 1}"} for number in range(4)]
QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 4, "lora_rank": 2, "max_sequence_length": 64}


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Run a task on rows; the events."""

    def go(
        rows: list[Any],
        layout: DatasetFormat = DatasetFormat.ALPACA,
        *,
        base: dict[str, Any] | None = None,
        validation: list[Any] | None = None,
        fingerprint: str | None = None,
        **hyperparameters: Any,
    ) -> list[Event]:
        directory = make_tiny_base(tmp_path / "base", **(base or {}))
        (tmp_path / "rows").write_text("\n".join(map(json.dumps, rows)))
        (tmp_path / "validation").write_text("\n".join(map(json.dumps, validation or [])))
        task = RecipeTask(
            base_model="baseModels/tiny",
            base_directory=directory,
            base_fingerprint_id=fingerprint or fingerprint_base(directory).id,
            dataset_path=tmp_path / "rows",
            dataset_format=layout,
            validation_path=tmp_path / "validation" if validation else None,
            validation_format=layout if validation else None,
            output_directory=tmp_path / "out",
            hyperparameters=RecipeHyperparameters(**{**QUICK, **hyperparameters}),
            cache_dir=tmp_path / "cache",
            threads=1,
        )
        stream = io.StringIO()
        run(task, Events(stream))
        return [decode(line) for line in stream.getvalue().splitlines()]

    return go


def notes(events: list[Event]) -> str:
    return "\n".join(event.text for event in events if isinstance(event, Note))


def finished(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def test_a_run_tells_its_plan_and_its_result(train: Train, tmp_path: Path) -> None:
    unseen = [{"instruction": f"{number}?", "output": "other"} for number in range(2)]
    events = train(CHAT, validation=[*unseen, CHAT[0]], lora_alpha=3.0)
    (started,) = [event for event in events if isinstance(event, Started)]
    assert (started.rows, started.total_steps) == (4, 1)
    assert started.supervised_tokens == 4 * (len("answer 0") + 1)
    assert started.hyperparameters.target_modules[0] == "down_proj"
    assert started.compute["dtype"] == "float32"
    assert "only 4 rows" in notes(events)
    assert "1 rows of the validation data set are left out" in notes(events)
    assert "only 1 optimizer steps" in notes(events)
    result = finished(events)
    assert result.trained_tokens == started.supervised_tokens
    assert result.validation_loss is not None
    assert result.chat_template is not None
    assert "im_start" in result.chat_template
    assert result.stop_token_ids == (2,)
    assert result.base_summary["id"] == fingerprint_base(tmp_path / "base").id
    assert (result.peft["r"], result.peft["lora_alpha"]) == (2, 3)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    config = (tmp_path / "out/adapter_config.json").read_text()
    assert str(tmp_path) not in config
    assert json.loads(config)["base_model_name_or_path"] == "baseModels/tiny"
    assert json.loads(config)["inference_mode"] is True


def test_pairs_need_no_template(train: Train) -> None:
    assert finished(train(PAIRS, DatasetFormat.PROMPT_COMPLETION)).chat_template is None


def test_gpt2_without_a_template_takes_chats_with_the_plain_one(train: Train) -> None:
    events = train(CHAT, base={"architecture": "gpt2", "chat_template": None})
    template = finished(events).chat_template
    assert template is not None
    assert '"<|im_end|>"' in template
    assert "Assistant:" in template
    assert "no chat template" in notes(events)
    assert finished(events).peft["fan_in_fan_out"] is True


def test_rows_that_are_cut_or_left_out_are_told(train: Train) -> None:
    rows = [*CHAT, {"instruction": "x" * 100, "output": "a"}, {"instruction": "b", "output": "y" * 100}]
    events = train(rows)
    assert "1 rows of the data set are left out" in notes(events)
    assert "1 rows of the data set are cut" in notes(events)


def test_answers_that_will_never_end_are_told(train: Train) -> None:
    open_end = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ ' | ' }}{% endfor %}"
    assert "run on until max_tokens" in notes(train(CHAT, base={"chat_template": open_end}))
    assert "max_tokens" not in notes(train(CHAT))


REFUSED: dict[str, tuple[dict[str, Any], Reason, str]] = {
    "another base": ({"fingerprint": "0" * 64}, Reason.BASE_FINGERPRINT_MISMATCH, "Restore the files"),
    "no room for answers": ({"max_sequence_length": 16}, Reason.NOTHING_TO_LEARN, "within 16 tokens"),
    "beyond the context": ({"max_sequence_length": 513}, Reason.INVALID_ARGUMENT, "holds 512 tokens"),
    "no such layer": ({"target_modules": ("c_attn",)}, Reason.TARGET_MODULES_NOT_FOUND, "no linear layer named c_attn"),
    "no effect": ({"learning_rate": 1e-60}, Reason.ADAPTER_NO_EFFECT, "The learning rate was 1e-60"),
    "an effect below rounding": ({"learning_rate": 1e-9}, Reason.ADAPTER_NO_EFFECT, "cannot be told from rounding"),
    "diverged": (
        {"learning_rate": 1.0, "lora_alpha": 1e30, "epochs": 50},
        Reason.TRAINING_DIVERGED,
        "Lower the learning rate",
    ),
    "a template that refuses": (
        {"base": {"chat_template": "{{ raise_exception('no') }}"}},
        Reason.NOTHING_TO_LEARN,
        "what the base's template takes",
    ),
}


@pytest.mark.parametrize(("case", "reason", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_trained_is_refused_and_leaves_nothing(
    train: Train, tmp_path: Path, case: dict[str, Any], reason: Reason, words: str
) -> None:
    with pytest.raises(DomainError, match=words) as caught:
        train(CHAT, **case)
    assert caught.value.reason is reason
    assert not (tmp_path / "out").exists()


def test_the_base_s_files_are_compared_as_they_are_now(train: Train, tmp_path: Path) -> None:
    other = fingerprint_base(make_tiny_base(tmp_path / "other", seed=1)).id
    with pytest.raises(DomainError) as caught:
        train(CHAT, fingerprint=other)
    assert caught.value.metadata == {
        "expected_id": other,
        "actual_id": fingerprint_base(tmp_path / "base").id,
    }
