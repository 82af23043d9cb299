"""A whole run in this process: what it tells, what it refuses."""

import io
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from services.common.admission.pipeline import Verdict, verify_adapter
from services.common.errors import DomainError, Reason
from services.common.identity import fingerprint_base
from services.common.training_report import TrainingVerdict
from services.trainer.datasets import DatasetFormat
from services.trainer.recipe.events import Events
from services.trainer.recipe.protocol import (
    Event,
    Finished,
    Found,
    Note,
    Plan,
    Planned,
    RecipeHyperparameters,
    RecipeTask,
    Started,
    decode,
)
from services.trainer.recipe.run import reckon, run
from tests.support.keys import TEST_TRUST
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
        force: bool = True,
        plan_only: bool = False,
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
            force=force,
            plan_only=plan_only,
        )
        stream = io.StringIO()
        (reckon if plan_only else run)(task, Events(stream))
        return [decode(line) for line in stream.getvalue().splitlines()]

    return go


def notes(events: list[Event]) -> str:
    return "\n".join(event.text for event in events if isinstance(event, Note))


def plan(events: list[Event]) -> Plan:
    (planned,) = [event for event in events if isinstance(event, Planned)]
    return planned.plan


def findings(events: list[Event]) -> dict[str, str]:
    return {finding.code: finding.sentence for finding in plan(events).findings}


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
    assert "1 rows of the validation data set are left out" in notes(events)
    assert "only 4 rows" in findings(events)["TOO_FEW_ROWS"]
    assert "only 1 optimizer steps" in findings(events)["TOO_FEW_STEPS"]
    assert plan(events).hyperparameters == started.hyperparameters
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
    assert findings(events)["ROWS_LEFT_OUT"].startswith("1 of 6 rows are left out")
    assert findings(events)["ROWS_CUT"].startswith("1 of 5 rows are cut")


def test_answers_that_will_never_end_are_told(train: Train) -> None:
    open_end = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ ' | ' }}{% endfor %}"
    told = findings(train(CHAT, base={"chat_template": open_end}))
    assert "run on until max_tokens" in told["NO_END_OF_TURN"]
    assert "NO_END_OF_TURN" not in findings(train(CHAT))


def test_a_hopeless_plan_is_refused_unless_forced(train: Train, tmp_path: Path) -> None:
    with pytest.raises(DomainError, match="cannot teach anything") as caught:
        train(CHAT, force=False)
    assert caught.value.reason is Reason.PLAN_HOPELESS
    assert caught.value.metadata == {"findings": "TOO_FEW_ROWS,TOO_FEW_STEPS"}
    assert not (tmp_path / "out").exists()
    assert finished(train(CHAT)).report.forced


@pytest.mark.parametrize("architecture", ["qwen2", "gpt2"])
def test_headers_alone_give_the_plan_of_the_run(train: Train, tmp_path: Path, architecture: str) -> None:
    asked = {"base": {"architecture": architecture}, "validation": CHAT[:2]}
    reckoned = plan(train(CHAT, plan_only=True, **asked))
    assert not (tmp_path / "out").exists()
    carried_out = plan(train(CHAT, **asked))
    changing = ("memory", "memory_available", "seconds", "seconds_basis")
    assert replace(reckoned, **{name: getattr(carried_out, name) for name in changing}) == carried_out
    assert {**reckoned.memory, "runtime": 0} == {**carried_out.memory, "runtime": 0}
    assert reckoned.lora_parameters == saved_parameters(tmp_path / "out")
    assert reckoned.seconds > 0


KINDS: dict[str, dict[str, Any]] = {
    "DoRA": {"use_dora": True},
    "ranks": {"target_modules": ("*_proj",), "rank_pattern": {"layers.1.*.*": 3}, "alpha_pattern": {"q_proj": 7.5}},
    "the head": {"modules_to_save": ("lm_head",)},
    "the embedding": {"modules_to_save": ("embed_tokens", "layers.0.*.q_proj")},
}


# PEFT asks transformers for an attribute that has a newer name.
@pytest.mark.filterwarnings("ignore:Input and output embeddings are no longer tied:UserWarning")
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_trained_is_planned_reported_admitted_and_loaded(train: Train, tmp_path: Path, kind: str) -> None:
    events = train(CHAT, epochs=20, learning_rate=0.01, **KINDS[kind])
    result, out = finished(events), tmp_path / "out"
    assert plan(events).lora_parameters + plan(events).saved_parameters == saved_parameters(out)
    verified = verify_adapter(
        out, fingerprint_base(tmp_path / "base"), TEST_TRUST, base_name="tiny", allow_undeclared=True
    )
    assert verified.verdict is Verdict.ADMISSIBLE, verified.sentence
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    ids, tokens = torch.tensor([result.probe.prompt_token_ids]), list(result.probe.token_ids)
    adapted = PeftModel.from_pretrained(base, str(out)).eval()
    with torch.no_grad():
        logits = adapted(input_ids=ids).logits[0, -1]
    assert logits[tokens].tolist() == pytest.approx(result.probe.adapter_logits, abs=1e-4)
    whole = adapted.merge_and_unload().state_dict()
    changes: dict[str, float] = defaultdict(float)
    for name, tensor in whole.items():
        changes[layer_of(name)] += float((tensor - before[name]).norm() ** 2)
    assert {change.layer for change in result.report.layers} == {layer for layer, norm in changes.items() if norm}
    for change in result.report.layers:
        assert change.norm == pytest.approx(changes[change.layer] ** 0.5, rel=1e-3)


def layer_of(name: str) -> str:
    parts = name.split(".")
    return ".".join(parts[:3]) if parts[1] == "layers" else name.removesuffix(".weight")


def saved_parameters(directory: Path) -> int:
    return sum(tensor.numel() for tensor in load_file(directory / "adapter_model.safetensors").values())


def test_what_rules_a_plan_out_is_told_as_a_finding(train: Train, tmp_path: Path) -> None:
    stream = io.StringIO()
    directory = make_tiny_base(tmp_path / "base")
    (tmp_path / "rows").write_text("\n".join(map(json.dumps, CHAT)))
    task = RecipeTask(
        base_model="baseModels/tiny",
        base_directory=directory,
        base_fingerprint_id="unused",
        dataset_path=tmp_path / "rows",
        dataset_format=DatasetFormat.ALPACA,
        output_directory=tmp_path / "out",
        hyperparameters=RecipeHyperparameters(target_modules=("c_attn",)),
        plan_only=True,
    )
    with pytest.raises(DomainError):
        reckon(task, Events(stream))
    (found,) = [decode(line) for line in stream.getvalue().splitlines()]
    assert isinstance(found, Found)
    assert found.finding.code == "UNKNOWN_TARGET_MODULES"


def test_a_run_reports_what_it_taught(train: Train) -> None:
    rows = [{"instruction": f"{number}?", "output": "yes, it is so"} for number in range(12)]
    events = train(
        rows, validation=[{"instruction": "99?", "output": "yes, it is so"}] * 3, epochs=8, learning_rate=0.01
    )
    report = finished(events).report
    assert report.verdict is TrainingVerdict.LEARNED
    assert report.held_out is not None
    assert report.held_out.adapter_loss < 0.5 * report.held_out.base_loss
    assert report.held_out.adapter_accuracy > report.held_out.base_accuracy
    assert report.curve.steps == 24
    assert report.curve.fall > 0
    assert report.curve.last_validation_loss == pytest.approx(report.held_out.adapter_loss, rel=1e-3)
    assert [change.layer for change in report.layers] == ["model.layers.0", "model.layers.1"]
    assert all(change.norm > 0 for change in report.layers)
    assert report.end_of_turn_share == 1.0
    assert report.answers[0].expected == "yes, it is so"
    assert report.answers[0].adapter != report.answers[0].base
    assert finished(train(CHAT, learning_rate=1e-5)).report.verdict is TrainingVerdict.NOT_LEARNED


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
