"""Plans before a training, and reports after it."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from gateway.schemas.common import Answered

Severity = Literal["info", "warning", "hopeless"]
Verdict = Literal["learned", "weak", "not_learned", "overfitted"]


class Finding(Answered):
    """Something that a look at a plan has shown."""

    severity: Severity
    code: str = Field(description="Its kind, for programs: TOO_FEW_STEPS.")
    text: str
    remedy: str = Field(description="What would be better, in numbers where there are numbers.")


class TrainingPlan(Answered):
    """What a training will be. Numbers are 0 where a finding rules a plan out."""

    object: Literal["training_plan"] = "training_plan"
    hopeless: bool = Field(description="Whether a job like this is refused unless forced.")
    hyperparameters: dict[str, Any]
    steps: int
    rows: int
    validation_rows: int
    tokens: int
    supervised_tokens: int
    base_parameters: int
    lora_parameters: int
    saved_parameters: int
    memory_bytes: int
    memory_parts: dict[str, int]
    memory_available_bytes: int
    seconds: float
    seconds_basis: str
    compute: dict[str, str]
    findings: list[Finding]


class Measured(Answered):
    """Base and adapter on the same rows; losses in nats a token."""

    rows: int
    tokens: int
    base_loss: float
    adapter_loss: float
    base_accuracy: float
    adapter_accuracy: float
    error: float = Field(description="Standard error of the difference of the losses, over rows.")


class LossCurve(Answered):
    """How the training loss went."""

    steps: int
    first: float
    last: float
    window: int
    noise: float
    best_validation_loss: float | None
    last_validation_loss: float | None


class LayerChange(Answered):
    """How large the update of a layer is: its Frobenius norm, and the same over that of the weights."""

    layer: str
    norm: float
    relative: float


class SideBySide(Answered):
    """What base and adapter answer to one prompt."""

    model_config = ConfigDict(json_schema_extra={"description": "Greedy answers, cut short."})

    prompt: str
    expected: str
    base: str
    adapter: str


class TrainingReport(Answered):
    """What a training has taught."""

    object: Literal["training_report"] = "training_report"
    job: str
    verdict: Verdict
    reasons: list[str]
    held_out: Measured | None = Field(description="On rows that were not trained on; null where there were none.")
    trained: Measured
    curve: LossCurve
    layers: list[LayerChange]
    end_of_turn_share: float
    answers: list[SideBySide]
    forced: bool
