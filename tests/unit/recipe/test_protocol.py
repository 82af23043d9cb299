"""Every event and the task survive the way, and nothing else does."""

from pathlib import Path

import pytest

from services.common.errors import DomainError, Reason
from services.common.probe import Probe
from services.trainer.datasets import DatasetFormat
from services.trainer.recipe.protocol import (
    Event,
    Failed,
    Finding,
    Finished,
    Found,
    Level,
    Note,
    Planned,
    RecipeHyperparameters,
    RecipeTask,
    Schedule,
    Severity,
    Started,
    Step,
    decode,
    decode_task,
    encode,
    encode_task,
)
from tests.support.plans import PLAN
from tests.support.reports import make_report
from tests.unit.recipe.conftest import make_plan

STEP = Step(
    step=1,
    total_steps=2,
    loss=0.5,
    learning_rate=1e-3,
    gradient_norm=2.0,
    tokens_per_second=100.0,
    epoch=0.5,
    trained_tokens=7,
)
EVENTS: list[Event] = [
    Started(hyperparameters=make_plan(), total_steps=3, rows=4, supervised_tokens=5, compute={"device": "cpu"}),
    STEP,
    Note(level=Level.WARNING, text="猴\n王"),
    Failed(reason=Reason.TRAINING_DIVERGED, message="NaN", metadata={"step": "3"}),
    Found(finding=Finding(severity=Severity.HOPELESS, code="NOTHING_SUPERVISED", text="Nothing.", remedy="More.")),
    Planned(plan=PLAN),
    Finished(
        steps=3,
        final_loss=0.1,
        trained_tokens=9,
        validation_loss=None,
        chat_template="{{ x }}",
        stop_token_ids=(1, 2),
        peft={"r": 4, "target_modules": ["a"]},
        probe=Probe((3,), (7, 9), (0.25, 2.0), (1.5, -2.0)),
        report=make_report(),
        base_summary={"id": "ab", "component_roots": {"language_model": "cd"}, "processor_digest": None},
        library_versions={"torch": "2"},
        compute={"threads": 2},
    ),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.event)
def test_an_event_is_one_line_and_comes_back(event: Event) -> None:
    line = encode(event)
    assert "\n" not in line
    assert decode(line) == event


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (encode(STEP).replace('"step":1', '"step":"1"'), "step.step"),
        (encode(STEP).replace('"step":1', '"step":1,"more":2'), "step.more"),
        (encode(STEP).replace('"loss":0.5,', ""), "step.loss"),
        (encode(STEP).replace("0.5", "NaN", 1), "step.loss"),
        (encode(STEP).replace('"step"}', '"stop"}'), "stop"),
        (encode(EVENTS[-1]).replace("[0.25,2.0]", "[0.25]"), "one for each of token_ids"),
        (encode(EVENTS[-1]).replace("[0.25,2.0]", "[0.25,null]"), "one for each of token_ids"),
        (encode(EVENTS[-1]).replace('"probe":{', '"probe":7,"x":{'), "not an object"),
        ("Loading weights: 100%", "Invalid JSON"),
        ("{}", "event"),
    ],
)
def test_a_line_that_is_no_event_is_refused(line: str, words: str) -> None:
    with pytest.raises(DomainError, match="no event") as caught:
        decode(line)
    assert caught.value.reason is Reason.INTERNAL
    assert words in caught.value.message


def test_a_task_comes_back_and_a_strange_one_is_refused() -> None:
    task = RecipeTask(
        base_model="baseModels/tiny",
        base_directory=Path("/bases/a b"),
        base_fingerprint_id="ab",
        dataset_path=Path("rows"),
        dataset_format=DatasetFormat.ALPACA,
        output_directory=Path("out"),
        hyperparameters=RecipeHyperparameters(schedule=Schedule.COSINE, target_modules=("q_proj",)),
        threads=2,
    )
    assert decode_task(encode_task(task)) == task
    with pytest.raises(DomainError, match=r"threads") as caught:
        decode_task(encode_task(task).replace('"threads": 2', '"threads": "2"'))
    assert caught.value.reason is Reason.INVALID_ARGUMENT
