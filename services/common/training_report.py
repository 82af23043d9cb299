"""What a training has taught, measured when it ended: part of the manifest (``training.report``), and of an answer.

floats and sentences only; the rules that make a verdict of them are the trainer's (``recipe/reporting/verdict``).
"""

import enum
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from services.common.errors import DomainError, Reason

# What a later version adds must not make its manifests unreadable here.
_CONFIG: Final = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)

MAX_LAYERS: Final = 1024
MAX_ANSWERS: Final = 8
MAX_REASONS: Final = 16

Text = Annotated[str, Field(max_length=4000)]


class TrainingVerdict(enum.StrEnum):
    """Whether an adapter has learned; ``TrainingReport.Verdict`` in lower case."""

    LEARNED = "learned"
    WEAK = "weak"
    """It changed in the right direction, by little."""
    NOT_LEARNED = "not_learned"
    OVERFITTED = "overfitted"
    """It learned its rows by heart, at the cost of others."""


@with_config(_CONFIG)
@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Base and adapter on the same rows.

    Attributes:
        rows: how many.
        tokens: supervised tokens in them.
        base_loss: mean negative log-likelihood of a token, in nats, by the base alone.
        adapter_loss: the same by base and adapter.
        base_accuracy: share of the tokens that the base finds likeliest, from 0 to 1.
        adapter_accuracy: the same by base and adapter.
        error: standard error of the mean over rows of base_loss - adapter_loss.
    """

    rows: int
    tokens: int
    base_loss: float
    adapter_loss: float
    base_accuracy: float
    adapter_accuracy: float
    error: float

    @property
    def gain(self) -> float:
        """By how much the adapter's loss is lower."""
        return self.base_loss - self.adapter_loss


@with_config(_CONFIG)
@dataclass(frozen=True, slots=True, kw_only=True)
class LossCurve:
    """How the training loss went.

    Attributes:
        steps: seen; fewer than the job's where an attempt went on from a checkpoint.
        first: mean of the first ``window`` steps.
        last: mean of the last ``window`` steps.
        window: steps in either mean.
        noise: standard deviation of a step's loss around its neighbours.
        best_validation_loss: the lowest held-out loss on the way, or None where it was not measured.
        last_validation_loss: the held-out loss at the end, or None.
    """

    steps: int
    first: float
    last: float
    window: int
    noise: float
    best_validation_loss: float | None = None
    last_validation_loss: float | None = None

    @property
    def fall(self) -> float:
        """How far it fell."""
        return self.first - self.last


@with_config(_CONFIG)
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerChange:
    """How large an update is: ``norm`` is the Frobenius norm of ΔW, ``relative`` the same over that of W."""

    layer: Annotated[str, Field(max_length=300)]
    norm: float
    relative: float


@with_config(_CONFIG)
@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """What base and adapter answer to one prompt, greedily, cut short; ``expected`` is what the row has."""

    prompt: Text
    expected: Text
    base: Text
    adapter: Text


@with_config(_CONFIG)
@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """The report.

    Attributes:
        verdict: whether it learned.
        reasons: why, as sentences, the deciding one first.
        held_out: on rows that were not trained on; None where there were none.
        trained: on (some of) the rows that were.
        curve: of the training loss.
        layers: ‖ΔW‖ by layer, in the model's order.
        end_of_turn_share: share of the rows whose last learnt token ends an answer.
        answers: up to four prompts; held-out ones where there are any.
        forced: whether the plan was hopeless and training was forced.
    """

    verdict: TrainingVerdict
    reasons: Annotated[tuple[Text, ...], Field(max_length=MAX_REASONS)]
    held_out: Measured | None
    trained: Measured
    curve: LossCurve
    layers: Annotated[tuple[LayerChange, ...], Field(max_length=MAX_LAYERS)]
    end_of_turn_share: float
    answers: Annotated[tuple[SideBySide, ...], Field(max_length=MAX_ANSWERS)]
    forced: bool

    def to_json(self) -> dict[str, Any]:
        """As the manifest writes it: numbers to six digits, which is more than they mean."""
        document: dict[str, Any] = _rounded(_REPORT.dump_python(self, mode="json"))
        return document

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what ``to_json`` gave.

        Raises:
            ValueError: saying what is wrong with it.
        """
        try:
            # Through JSON: there strict validation takes lists for tuples, words for verdicts and 2 for 2.0.
            report: Any = _REPORT.validate_json(json.dumps(value))
        except (TypeError, RecursionError) as error:
            raise ValueError(f"it is not JSON: {error}") from None
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            raise ValueError(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
        return report  # type: ignore[no-any-return]  # the adapter's type is this class


def report_of(training: Mapping[str, Any]) -> TrainingReport | None:
    """The report within a manifest's ``training``; None if it is from before there were reports, or declared.

    Raises:
        DomainError: MANIFEST_INVALID.
    """
    if training.get("report") is None:
        return None
    try:
        return TrainingReport.from_json(training["report"])
    except ValueError as error:
        text = f"The manifest cannot be used: in its training report, {error}."
        raise DomainError(Reason.MANIFEST_INVALID, text) from None


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return float(f"{value:.6g}") if math.isfinite(value) else value
        case dict():
            return {key: _rounded(item) for key, item in value.items()}
        case list():
            return [_rounded(item) for item in value]
        case _:
            return value


_REPORT: Final[TypeAdapter[TrainingReport]] = TypeAdapter(TrainingReport)
