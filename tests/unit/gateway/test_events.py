"""Events and checkpoints as REST shows them."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.mapping.events import checkpoint_id, checkpoint_object, event_object, watch_event
from tenon.trainer.v1 import training_job_pb2

Event = training_job_pb2.TrainingJobEvent
TIME = Timestamp(seconds=1_700_000_000)
METRICS = Event.StepMetrics(step=40, total_steps=90, loss=1.25, validation_loss=1.5, memory_bytes=2**30)


def test_a_checkpoint_is_listed_with_the_figures_of_its_step() -> None:
    name = "projects/default/trainingJobs/ftjob-1/checkpoints/17"
    checkpoint = training_job_pb2.TrainingJobCheckpoint(
        name=name, step=40, create_time=TIME, metrics=METRICS, size_bytes=1234, stored=True
    )
    shown = checkpoint_object("ftjob-1", checkpoint).model_dump()
    assert shown["id"] == checkpoint_id("ftjob-1", checkpoint) == "ftckpt-1-17"
    assert shown["object"] == "fine_tuning.job.checkpoint"
    assert (shown["created_at"], shown["fine_tuning_job_id"], shown["step_number"]) == (TIME.seconds, "ftjob-1", 40)
    assert shown["fine_tuned_model_checkpoint"] is None
    assert (shown["metrics"]["step"], shown["metrics"]["train_loss"], shown["metrics"]["valid_loss"]) == (40, 1.25, 1.5)
    assert shown["tenon"]["metrics"]["memory_bytes"] == 2**30
    assert (shown["tenon"]["size_bytes"], shown["tenon"]["stored"]) == (1234, True)


def test_a_checkpoint_whose_step_was_not_measured_has_no_validation_loss() -> None:
    metrics = Event.StepMetrics(step=40, loss=1.25)
    checkpoint = training_job_pb2.TrainingJobCheckpoint(name="a/b/c/d/checkpoints/1", create_time=TIME, metrics=metrics)
    assert checkpoint_object("ftjob-1", checkpoint).metrics.valid_loss is None


def test_a_kept_checkpoint_is_an_event() -> None:
    event = Event(sequence=7, time=TIME, checkpoint=Event.Checkpoint(step=40, size_bytes=1234))
    assert watch_event(event) == {
        "sequence": 7,
        "time": datetime.fromtimestamp(TIME.seconds, UTC).isoformat().replace("+00:00", "Z"),
        "type": "checkpoint",
        "data": {"step": 40, "size_bytes": 1234},
    }
    listed = event_object("ftjob-1", event)
    assert (listed.id, listed.type, listed.level) == ("ftevent-1-7", "message", "info")
    assert listed.message == "A checkpoint is kept after step 40"


def test_a_step_tells_its_memory() -> None:
    assert watch_event(Event(sequence=1, time=TIME, metrics=METRICS))["data"]["memory_bytes"] == 2**30
