"""What is known of a training before and after it: kept with the job, told in events, refused where it is hopeless."""

from dataclasses import replace
from typing import Any

import pytest

from services.common.errors import DomainError, Reason
from services.common.manifest import AdapterManifest
from services.common.training_report import TrainingVerdict
from services.trainer.jobs import rules
from services.trainer.jobs.jobs import Jobs
from services.trainer.model import Batch, Lease
from services.trainer.recipe.protocol import Finding, Severity
from services.trainer.storage.store import Store
from tests.contract.trainer.samples import dataset, job, nothing, queue, queued
from tests.support.plans import PLAN
from tests.support.registry import manifest
from tests.support.reports import make_report

FINDING = Finding(severity=Severity.WARNING, code="FEW_ROWS", text="There are only 20 rows.", remedy="Gather 80 more.")


def jobs_of(store: Store) -> Jobs:
    artifacts: Any = None
    registry: Any = None
    return Jobs(store, artifacts, registry)


async def claimed(store: Store) -> Lease:
    await queued(store, "planned")
    claim = await queue(store).claim("worker")
    assert claim is not None
    return claim.lease


async def test_a_plan_and_its_findings_are_kept(store: Store) -> None:
    lease = await claimed(store)
    batch = Batch(number=1, events=(FINDING,), plan=PLAN)
    await queue(store).append(lease, batch)
    found = await store.jobs.get(lease.name)
    assert found.plan == PLAN
    events = await store.jobs.events(lease.name, after=0, limit=9)
    assert events[-1].body == FINDING
    await queue(store).append(lease, Batch(number=2, events=()))
    assert (await store.jobs.get(lease.name)).plan == PLAN
    lost = await store.jobs.change(lease.name, rules.lose(3))
    assert lost.plan == PLAN


async def test_force_is_kept(store: Store) -> None:
    await store.datasets.add(dataset(), nothing)
    forced = await store.jobs.create(replace(job("forced"), force=True))
    assert (await store.jobs.get(forced.name)).force
    assert not (await queued(store, "plain")).force


async def test_a_report_is_that_of_the_manifest(store: Store) -> None:
    lease = await claimed(store)
    jobs = jobs_of(store)
    for kept in (None, manifest()):
        if kept is not None:
            await queue(store).keep_manifest(lease, kept.to_bytes())
        with pytest.raises(DomainError) as raised:
            await jobs.report(lease.name)
        assert raised.value.reason is Reason.TRAINING_REPORT_NOT_FOUND
    made = manifest(report=make_report(TrainingVerdict.WEAK))
    assert AdapterManifest.from_bytes(made.to_bytes()) == made
    await queue(store).keep_manifest(lease, made.to_bytes())
    assert await jobs.report(lease.name) == make_report(TrainingVerdict.WEAK)
