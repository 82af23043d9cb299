from dataclasses import replace
from typing import Any

import pytest

from services.common.errors import DomainError
from services.common.resource_names import BaseModelName
from services.trainer.jobs.admission import JobDraft, admit, check_sequence_length, context_length
from services.trainer.model import Hyperparameters

DRAFT = JobDraft(
    parent="projects/default",
    training_job_id="",
    base_model="baseModels/tiny",
    dataset="projects/default/datasets/rows",
    validation_dataset="",
    adapter="projects/default/adapters/wukong",
    hyperparameters=Hyperparameters(),
)

LIMITS: dict[str, tuple[Any, Any, Any, Any]] = {
    "epochs": (1, 1000, 0, 1001),
    "batch_size": (1, 4096, 0, 4097),
    "learning_rate": (1e-9, 1.0, 0.0, 1.1),
    "warmup_ratio": (0.0, 1.0, -0.1, 1.1),
    "lora_rank": (1, 512, 0, 513),
    "lora_alpha": (0.1, 65536.0, 0.0, float("inf")),
    "max_sequence_length": (16, 2**24, 15, 2**24 + 1),
    "seed": (0, 2**53 - 1, -1, 2**53),
    "weight_decay": (0.0, 1.0, float("nan"), 1.5),
    "max_gradient_norm": (0.1, 1e6, 0.0, float("inf")),
    "early_stopping_patience": (0, 100, -1, 101),
}


def fields(draft: JobDraft) -> list[str]:
    with pytest.raises(DomainError) as raised:
        admit(draft, "job-1")
    return [violation.field for violation in raised.value.violations]


def test_a_right_draft_is_read() -> None:
    admitted = admit(DRAFT, "job-1")
    assert str(admitted.name) == "projects/default/trainingJobs/job-1"
    assert admitted.validation_dataset is None
    assert str(admit(replace(DRAFT, training_job_id="mine"), "job-1").name).endswith("/mine")


@pytest.mark.parametrize("name", LIMITS)
def test_ranges_hold_at_both_ends(name: str) -> None:
    lowest, highest, below, above = LIMITS[name]
    for value in (lowest, highest):
        asked = Hyperparameters(**{name: value})
        assert admit(replace(DRAFT, hyperparameters=asked), "job-1").hyperparameters == asked
    for value in (below, above):
        wrong = replace(DRAFT, hyperparameters=Hyperparameters(**{name: value}))
        assert fields(wrong) == [f"training_job.hyperparameters.{name}"]


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5])
def test_a_part_of_the_rows_may_be_held_out(fraction: float) -> None:
    assert admit(replace(DRAFT, validation_fraction=fraction), "job-1").validation_fraction == fraction


@pytest.mark.parametrize("fraction", [-0.1, 0.51, float("nan"), float("inf")])
def test_no_more_than_half_may_be_held_out(fraction: float) -> None:
    assert fields(replace(DRAFT, validation_fraction=fraction)) == ["training_job.validation_fraction"]


def test_nothing_is_held_out_beside_rows_to_measure_on() -> None:
    given = replace(DRAFT, validation_dataset="projects/default/datasets/other")
    assert admit(given, "job-1").validation_fraction is None
    assert fields(replace(given, validation_fraction=0.0)) == ["training_job.validation_fraction"]


def test_what_belongs_to_another_project_cannot_be_used() -> None:
    foreign = replace(
        DRAFT,
        dataset="projects/other/datasets/rows",
        validation_dataset="projects/other/datasets/rows",
        adapter="projects/other/adapters/a",
    )
    assert fields(foreign) == ["training_job.dataset", "training_job.validation_dataset", "training_job.adapter"]


@pytest.mark.parametrize(
    "labels",
    [{f"k{n}": "" for n in range(17)}, {"k" * 65: "v"}, {"k": "v" * 513}, {"": "v"}],
    ids=["many", "long key", "long value", "empty key"],
)
def test_labels_are_bounded(labels: dict[str, str]) -> None:
    assert fields(replace(DRAFT, labels=labels)) == ["training_job.labels"]


@pytest.mark.parametrize(
    "targets", [("q_proj", "q_proj"), ("model..q_proj",), ("",), tuple(f"m{n}" for n in range(257))]
)
def test_target_modules_are_names(targets: tuple[str, ...]) -> None:
    wrong = replace(DRAFT, hyperparameters=Hyperparameters(target_modules=targets))
    assert fields(wrong) == ["training_job.hyperparameters.target_modules"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target_modules", ("q_proj|k_proj",)),
        ("modules_to_save", ("lm_head", "lm_head")),
        ("modules_to_save", tuple(f"m{n}" for n in range(65))),
        ("modules_to_save", ("../lm_head",)),
        ("rank_pattern", {"q_proj": 0}),
        ("rank_pattern", {"q_proj": 513}),
        ("rank_pattern", {"(a+)+$": 8}),
        ("rank_pattern", {f"m{n}": 8 for n in range(65)}),
        ("alpha_pattern", {"q_proj": 0.0}),
        ("alpha_pattern", {"q_proj": float("nan")}),
    ],
)
def test_patterns_are_ends_of_names_with_values_in_range(field: str, value: Any) -> None:
    wrong = replace(DRAFT, hyperparameters=Hyperparameters(**{field: value}))
    assert fields(wrong)[0] == f"training_job.hyperparameters.{field}"


def test_patterns_may_have_parts_and_stars() -> None:
    right = Hyperparameters(
        target_modules=("layers.0.*.q_proj", "mlp.*"), rank_pattern={"mlp.*": 8}, modules_to_save=("lm_head",)
    )
    assert admit(replace(DRAFT, hyperparameters=right), "job").hyperparameters == right


@pytest.mark.parametrize(
    ("document", "context"),
    [
        (b'{"config": {"max_position_embeddings": 512}}', 512),
        (b'{"config": {"n_positions": 1024}}', 1024),
        (b'{"config": {"text_config": {"max_position_embeddings": 64}}}', 64),
        (b'{"config": {}}', None),
        (b"", None),
        (b"[]", None),
    ],
)
def test_the_context_is_read_from_the_fingerprint(document: bytes, context: int | None) -> None:
    assert context_length(document) == context
    base, asked = BaseModelName("tiny"), Hyperparameters(max_sequence_length=1025)
    if context is None:
        check_sequence_length(asked, base, document)
        return
    check_sequence_length(Hyperparameters(max_sequence_length=context), base, document)
    with pytest.raises(DomainError, match=f"context of baseModels/tiny is {context} tokens"):
        check_sequence_length(asked, base, document)
