from datetime import UTC, datetime

import pytest

from services.common.errors import DomainError, Reason, from_status
from services.trainer.datasets import DatasetFormat
from services.trainer.model import Hyperparameters, JobError, JobEvent, JobMessage, JobState, StateChange
from services.trainer.recipe.protocol import Level, Schedule
from services.trainer.servicers import convert
from tenon.trainer.v1 import dataset_pb2, training_job_pb2

NOW = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)


@pytest.mark.parametrize("row_format", DatasetFormat)
def test_formats_go_there_and_back(row_format: DatasetFormat) -> None:
    number = convert.format_to_proto(row_format)
    assert dataset_pb2.DatasetFormat.Name(number) == f"DATASET_FORMAT_{row_format.name}"
    assert convert.format_from_proto(number, "format") is row_format


def test_an_unspecified_format_is_detected_and_an_unknown_one_refused() -> None:
    assert convert.format_from_proto(dataset_pb2.DATASET_FORMAT_UNSPECIFIED, "format") is None
    with pytest.raises(DomainError, match="77 is no format"):
        convert.format_from_proto(77, "format")  # type: ignore[arg-type]  # a newer client's


@pytest.mark.parametrize("state", JobState)
def test_states_keep_their_names(state: JobState) -> None:
    message = convert.event_to_proto(JobEvent(1, NOW, StateChange(state)))
    assert training_job_pb2.TrainingJob.State.Name(message.state_change.state) == f"STATE_{state.name}"
    assert message.time.ToDatetime(UTC) == NOW


@pytest.mark.parametrize("level", Level)
def test_levels_keep_their_names(level: Level) -> None:
    message = convert.event_to_proto(JobEvent(1, NOW, JobMessage(level, "text"))).message
    assert training_job_pb2.TrainingJobEvent.Message.Level.Name(message.level) == f"LEVEL_{level.name}"


def test_an_error_keeps_its_reason() -> None:
    error = JobError(Reason.TRAINING_CRASHED, "It was killed.", {"signal": "SIGKILL"})
    message = convert.event_to_proto(JobEvent(1, NOW, StateChange(JobState.FAILED, error)))
    read = from_status(message.state_change.error)
    assert read is not None
    assert JobError.of(read) == error


@pytest.mark.parametrize("schedule", [None, *Schedule])
def test_hyperparameters_left_out_stay_left_out(schedule: Schedule | None) -> None:
    message = training_job_pb2.Hyperparameters(epochs=0, seed=5, target_modules=["q_proj"])
    if schedule:
        message.schedule = training_job_pb2.Hyperparameters.Schedule.Value(f"SCHEDULE_{schedule.name}")  # type: ignore[assignment]  # the stubs of protobuf's
    request = training_job_pb2.CreateTrainingJobRequest(
        training_job=training_job_pb2.TrainingJob(hyperparameters=message)
    )
    read = convert.draft_from_proto(request).hyperparameters
    assert read == Hyperparameters(epochs=0, seed=5, target_modules=("q_proj",), schedule=schedule)


def test_a_schedule_of_a_newer_version_is_refused() -> None:
    message = training_job_pb2.Hyperparameters(schedule=9)  # type: ignore[arg-type]  # a newer client's
    job = training_job_pb2.TrainingJob(hyperparameters=message)
    with pytest.raises(DomainError, match="9 is no schedule"):
        convert.draft_from_proto(training_job_pb2.CreateTrainingJobRequest(training_job=job))


@pytest.mark.parametrize("fraction", [None, 0.0, 0.25])
def test_a_fraction_left_out_is_not_one_of_zero(fraction: float | None) -> None:
    job = training_job_pb2.TrainingJob(validation_fraction=fraction)
    draft = convert.draft_from_proto(training_job_pb2.CreateTrainingJobRequest(training_job=job))
    assert draft.validation_fraction == fraction
