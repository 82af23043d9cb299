from dataclasses import replace
from typing import Any

import pytest

from services.common.errors import DomainError, Reason
from services.common.resource_names import AdapterName, AdapterVersionName, BaseModelName, DatasetName, TrainingJobName
from services.trainer import rules
from services.trainer.model import TRANSITIONS, Batch, JobError, JobState, Lease, StateChange, TrainingJob

NAME = TrainingJobName("default", "one")
LEASE = Lease(NAME, 3)
ERROR = JobError(Reason.TRAINING_CRASHED, "It was killed.")


def job(state: JobState = JobState.RUNNING, **fields: Any) -> TrainingJob:
    held = state in {JobState.RUNNING, JobState.CANCELLING}
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


@pytest.mark.parametrize("state", JobState)
def test_every_change_of_state_is_told_and_counted(state: JobState) -> None:
    asked = rules.cancel(job(state))
    if state not in {JobState.QUEUED, JobState.RUNNING}:
        assert asked is None
        return
    assert asked is not None
    assert asked.events == (StateChange(asked.job.state),)
    assert asked.job.revision == job(state).revision + 1


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
