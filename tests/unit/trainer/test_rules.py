from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from services.common.errors import DomainError, Reason
from services.common.resource_names import AdapterName, AdapterVersionName, BaseModelName, DatasetName, TrainingJobName
from services.trainer.jobs import rules
from services.trainer.jobs.rules import Rule
from services.trainer.model import (
    HELD,
    TRANSITIONS,
    Batch,
    CheckpointDraft,
    CheckpointKept,
    JobError,
    JobMessage,
    JobState,
    Lease,
    StateChange,
    TrainingJob,
)
from tests.unit.trainer.test_recorder import metrics

NAME = TrainingJobName("default", "one")
LEASE = Lease(NAME, 3)
ERROR = JobError(Reason.TRAINING_CRASHED, "It was killed.", {"signal": "SIGKILL"})


def job(state: JobState = JobState.RUNNING, **fields: Any) -> TrainingJob:
    held = state in HELD
    empty = TrainingJob(
        name=NAME,
        base_model=BaseModelName("tiny"),
        base_fingerprint_id="ab" * 32,
        dataset=DatasetName("default", "rows"),
        validation_dataset=None,
        adapter=AdapterName("default", "wukong"),
    )
    return replace(empty, state=state, epoch=3, attempt=1, worker="w" if held else None, **fields)


def outcome(rule: rules.Rule, before: TrainingJob) -> TrainingJob:
    change = rule(before)
    assert change is not None
    return change.job


def test_exactly_the_final_states_lead_nowhere() -> None:
    assert {state for state in JobState if state.final} == {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
    assert set(TRANSITIONS) == set(JobState)


REQUESTS: Mapping[Rule, Mapping[JobState, JobState]] = {
    rules.cancel: {
        JobState.QUEUED: JobState.CANCELLED,
        JobState.PAUSED: JobState.CANCELLED,
        JobState.RUNNING: JobState.CANCELLING,
        JobState.PAUSING: JobState.CANCELLING,
    },
    rules.pause: {JobState.QUEUED: JobState.PAUSED, JobState.RUNNING: JobState.PAUSING},
    rules.resume: {JobState.PAUSED: JobState.QUEUED, JobState.PAUSING: JobState.RUNNING},
}
"""What becomes of a job in which state; in others it stays as it is, or the request is refused."""


@pytest.mark.parametrize("request_", REQUESTS, ids=["cancel", "pause", "resume"])
@pytest.mark.parametrize("state", JobState)
def test_every_change_of_state_is_told_and_counted(request_: Rule, state: JobState) -> None:
    expected = REQUESTS[request_].get(state)
    asked = None
    with suppress(DomainError):
        asked = request_(job(state))
    if expected is None:
        assert asked is None
        return
    assert asked is not None
    assert asked.job.state is expected
    assert asked.events == (StateChange(expected),)
    assert asked.job.revision == job(state).revision + 1


@pytest.mark.parametrize("rule", [rules.pause, rules.resume], ids=["pause", "resume"])
@pytest.mark.parametrize("state", JobState)
def test_only_what_has_not_ended_can_be_paused_and_resumed(rule: Rule, state: JobState) -> None:
    refused = state.final or state is JobState.CANCELLING
    if not refused:
        rule(job(state))
        return
    with pytest.raises(DomainError, match=f"is {state} and cannot be") as raised:
        rule(job(state))
    assert raised.value.reason is Reason.TRAINING_JOB_WRONG_STATE
    assert raised.value.metadata == {"training_job": str(NAME), "state": state.value}


@pytest.mark.parametrize(
    ("state", "then"),
    [
        (JobState.RUNNING, JobState.QUEUED),
        (JobState.PAUSING, JobState.PAUSED),
        (JobState.CANCELLING, JobState.CANCELLED),
    ],
)
@pytest.mark.parametrize("way", ["lost", "crashed", "given back", "paused"])
def test_a_job_that_its_worker_lets_go_of_goes_where_it_was_to_go(state: JobState, then: JobState, way: str) -> None:
    rule = {
        "lost": rules.lose(3),
        "crashed": rules.crash(LEASE, ERROR, 3),
        "given back": rules.give_back(LEASE),
        "paused": rules.confirm_pause(LEASE),
    }[way]
    change = rule(job(state))
    assert change is not None
    assert (change.job.state, change.job.worker, change.job.epoch) == (then, None, 4)
    assert change.job.losses == (way in {"lost", "crashed"})
    assert change.events[-1] == StateChange(then)


def test_a_training_process_that_was_killed_is_tried_again_so_often() -> None:
    change = rules.crash(LEASE, ERROR, 3)(job(losses=1))
    assert change is not None
    assert change.job.state is JobState.QUEUED
    assert change.job.error is None
    assert isinstance(change.events[0], JobMessage)
    assert "SIGKILL" in change.events[0].text
    failed = outcome(rules.crash(LEASE, ERROR, 3), job(losses=2))
    assert (failed.state, failed.error) == (JobState.FAILED, ERROR)


def test_a_checkpoint_makes_up_for_losses() -> None:
    kept = Batch(number=1, events=(metrics(3), CheckpointKept(3, 9, "ab" * 32)))
    assert outcome(rules.append(LEASE, kept), job(losses=2)).losses == 0
    assert outcome(rules.append(LEASE, Batch(number=1, events=(metrics(3),))), job(losses=2)).losses == 2


@pytest.mark.parametrize("state", [s for s in JobState if s is not JobState.QUEUED])
def test_only_a_queued_job_can_be_claimed(state: JobState) -> None:
    with pytest.raises(DomainError, match="cannot go from"):
        rules.claim("w", 1)(job(state))


def test_a_claim_begins_anew() -> None:
    claimed = outcome(rules.claim("w2", 9), job(JobState.QUEUED, batch=7))
    assert (claimed.worker, claimed.attempt, claimed.epoch, claimed.batch) == ("w2", 2, 4, 0)


@pytest.mark.parametrize(
    "rule",
    [
        rules.heartbeat(LEASE, 1),
        rules.append(LEASE, Batch(number=1, events=())),
        rules.keep_manifest(LEASE, b""),
        rules.fail(LEASE, ERROR),
        rules.confirm_cancellation(LEASE),
        rules.give_back(LEASE),
        rules.confirm_pause(LEASE),
        rules.crash(LEASE, ERROR, 3),
        rules.announce_checkpoint(LEASE, CheckpointDraft(step=1, sha256="ab" * 32, size=1, metrics=metrics(1))),
    ],
)
@pytest.mark.parametrize(
    "other", [replace(job(), epoch=4), job(JobState.QUEUED), job(JobState.SUCCEEDED)], ids=["epoch", "queued", "ended"]
)
def test_a_lease_that_is_over_allows_nothing(rule: rules.Rule, other: TrainingJob) -> None:
    with pytest.raises(DomainError) as raised:
        rule(other)
    assert raised.value.reason is Reason.LEASE_LOST


def test_an_end_written_twice_is_one_end() -> None:
    version = AdapterVersionName("default", "wukong", "ef" * 32)
    for rule in (rules.succeed(LEASE, version), rules.fail(LEASE, ERROR)):
        ended = outcome(rule, job())
        assert ended.state.final
        assert ended.worker is None
        assert rule(ended) is None


def test_losing_workers_ends_after_so_many() -> None:
    assert outcome(rules.lose(3), job(losses=1)).state is JobState.QUEUED
    failed = outcome(rules.lose(3), job(losses=2))
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert failed.error.reason is Reason.TRAINING_CRASHED
    assert failed.worker is None


def test_a_cancelled_job_is_not_confirmed_before_it_was_asked_for() -> None:
    with pytest.raises(DomainError, match="cannot go from running to cancelled"):
        rules.confirm_cancellation(LEASE)(job())
