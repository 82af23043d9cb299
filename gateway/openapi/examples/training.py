"""Files, plans, jobs and reports."""

from typing import Any, Final

from gateway.openapi.examples.adapters import BASE, FINGERPRINT, JOB, VERSION
from gateway.schemas.datasets import Bucket, Percentile, Preview, PreviewedRow, PreviewedToken, Tokens
from gateway.schemas.files import FileDeleted, FileExtension, FileObject, Statistics
from gateway.schemas.fine_tuning import (
    Checkpoint,
    CheckpointExtension,
    CheckpointMetrics,
    Job,
    JobEvent,
    JobExtension,
    JobProgress,
)
from gateway.schemas.training import (
    Finding,
    LayerChange,
    LossCurve,
    Measured,
    SideBySide,
    TrainingPlan,
    TrainingReport,
)

_FILE: Final = "data-0f1e2d3c4b5a6978"
_SECONDS: Final = 1772442847
_TIME: Final = "2026-03-02T09:14:07Z"
_HYPERPARAMETERS: Final[dict[str, Any]] = {
    "n_epochs": 20,
    "batch_size": 4,
    "learning_rate": 0.002,
    "warmup_ratio": 0.03,
    "lora_rank": 32,
    "lora_alpha": 64.0,
    "max_sequence_length": 256,
    "weight_decay": 0.0,
    "max_gradient_norm": 1.0,
    "early_stopping_patience": 0,
    "use_rslora": False,
    "use_dora": False,
    "learning_rate_multiplier": "auto",
    "schedule": "cosine",
    "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "rank_pattern": {},
    "alpha_pattern": {},
    "modules_to_save": [],
}

_TOKENS: Final = Tokens(
    base_model=BASE,
    max_sequence_length=256,
    measured_row_count=210,
    token_count=9_120,
    kept_token_count=9_120,
    supervised_token_count=5_310,
    supervised_share=0.58,
    truncated_row_count=0,
    unlabelled_row_count=0,
    refused_row_count=0,
    refusal="",
    percentiles=[Percentile(percent=50, tokens=41), Percentile(percent=95, tokens=78)],
    histogram=[Bucket(first=1, last=64, row_count=186), Bucket(first=65, last=128, row_count=24)],
    ends_answers=True,
    uses_plain_template=False,
)

STATISTICS: Final = Statistics(
    row_count=210,
    faulty_row_count=0,
    duplicate_row_count=0,
    answer_count=210,
    answer_characters=7_304,
    synthetic_row_count=0,
    tokens=_TOKENS,
)

FILE: Final = FileObject(
    id=_FILE,
    bytes=48_112,
    created_at=_SECONDS,
    filename="train.json",
    tenon=FileExtension(
        format="alpaca",
        sha256="f8346000b6dc0a91b7e3c5d2a4f6e8091b2c3d4e5f60718293a4b5c6d7e8f901",
        statistics=STATISTICS.model_copy(update={"tokens": None}),
    ),
)

FILE_DELETED: Final = FileDeleted(id=_FILE)

PREVIEW: Final = Preview(
    data=[
        PreviewedRow(
            row=1,
            tokens=[
                PreviewedToken(id=88, text="你好", supervised=False),
                PreviewedToken(id=412, text="嘿嘿", supervised=True),
            ],
            truncated=False,
            token_count=2,
            unlabelled_reason="",
        )
    ],
    max_sequence_length=256,
    uses_plain_template=False,
)

PLAN: Final = TrainingPlan(
    hopeless=False,
    hyperparameters=_HYPERPARAMETERS,
    steps=1_050,
    rows=210,
    validation_rows=0,
    tokens=182_400,
    supervised_tokens=106_200,
    base_parameters=1_883_072,
    lora_parameters=430_080,
    saved_parameters=0,
    memory_bytes=612_368_384,
    memory_parts={"libraries": 402_653_184, "weights": 7_532_288, "adapter": 6_881_280, "activations": 195_301_632},
    memory_available_bytes=16_777_216_000,
    seconds=74.0,
    seconds_basis="a matrix product measured here and now",
    compute={"device": "cpu", "dtype": "float32"},
    findings=[
        Finding(
            severity="info",
            code="NO_VALIDATION",
            text="No rows are held out, so the report can say nothing of others.",
            remedy="Leave validation_fraction out, or name a validation_file.",
        )
    ],
)

JOB_OBJECT: Final = Job(
    id=JOB,
    created_at=_SECONDS,
    finished_at=_SECONDS + 81,
    model=BASE,
    fine_tuned_model=f"wukong@{VERSION}",
    organization_id="default",
    status="succeeded",
    training_file=_FILE,
    validation_file=None,
    hyperparameters={"n_epochs": 20, "batch_size": 4, "learning_rate_multiplier": "auto"},
    method={"type": "supervised", "supervised": {"hyperparameters": _HYPERPARAMETERS}},
    seed=42,
    trained_tokens=182_400,
    metadata={"team": "apes"},
    error=None,
    tenon=JobExtension(
        state="succeeded",
        adapter="wukong",
        base_fingerprint_id=FINGERPRINT,
        progress=JobProgress(step=1_050, total_steps=1_050, loss=0.118, trained_tokens=182_400),
        attempt=1,
        priority=0,
        start_time=_TIME,
        force=False,
        plan=PLAN,
    ),
)

EVENT: Final = JobEvent(
    id="ftevent-0f1e2d3c4b5a6978-7",
    created_at=_SECONDS,
    level="info",
    message="Step 20 of 1050: loss 3.2114",
    type="metrics",
    data={"step": 20, "total_steps": 1050, "loss": 3.2114, "learning_rate": 0.002, "validation_loss": None},
)

CHECKPOINT: Final = Checkpoint(
    id="ftckpt-0f1e2d3c4b5a6978-500",
    created_at=_SECONDS,
    fine_tuning_job_id=JOB,
    step_number=500,
    metrics=CheckpointMetrics(step=500, train_loss=0.412),
    tenon=CheckpointExtension(size_bytes=5_242_880, stored=True, metrics={"step": 500, "loss": 0.412}),
)

REPORT: Final = TrainingReport(
    job=JOB,
    verdict="learned",
    reasons=["The loss on rows trained on fell from 5.21 to 0.12; nothing is known of others."],
    held_out=None,
    trained=Measured(
        rows=64,
        tokens=1_620,
        base_loss=5.21,
        adapter_loss=0.12,
        base_accuracy=0.11,
        adapter_accuracy=0.98,
        error=0.04,
    ),
    curve=LossCurve(
        steps=1_050,
        first=5.3,
        last=0.118,
        window=20,
        noise=0.05,
        best_validation_loss=None,
        last_validation_loss=None,
    ),
    layers=[LayerChange(layer="model.layers.0.self_attn.q_proj", norm=1.84, relative=0.21)],
    end_of_turn_share=1.0,
    answers=[
        SideBySide(
            prompt="你家住哪里",
            expected="俺家住东胜神洲花果山，山里有个水帘洞。",
            base="我，我住在电脑里。",
            adapter="俺家住东胜神洲花果山，山里有个水帘洞。",
        )
    ],
    forced=False,
)
