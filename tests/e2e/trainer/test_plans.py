"""Plans over gRPC, and jobs that are refused for theirs: before the queue where that can be told, else before the first step."""

from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from services.common.errors import DomainError, Reason, from_status
from services.common.manifest import AdapterManifest
from tenon.registry.v1 import adapter_pb2
from tenon.trainer.v1 import dataset_pb2, training_job_pb2, training_report_pb2
from tests.e2e.trainer.platform import PARENT, Platform, State, jsonl
from tests.support.tiny_bases import make_tiny_base

Finding = training_job_pb2.TrainingFinding
ROWS = [{"instruction": f"Who is {n}?", "input": "", "output": "It is I, the Monkey King."} for n in range(20)]
HOPELESS = training_job_pb2.Hyperparameters(batch_size=16, epochs=3, lora_rank=2, max_sequence_length=128, seed=1)


@pytest.fixture(scope="module")
async def base(platform: Platform) -> str:
    directory = make_tiny_base(platform.root / "bases" / "planned", seed=5)
    return (await platform.add_base("planned", directory)).name


@pytest.fixture(scope="module")
async def dataset(platform: Platform) -> dataset_pb2.Dataset:
    return await platform.upload(jsonl(ROWS))


def codes(plan: training_job_pb2.TrainingPlan) -> dict[str, int]:
    return {finding.code: finding.severity for finding in plan.findings}


async def test_a_plan_is_reckoned_and_nothing_created(
    platform: Platform, base: str, dataset: dataset_pb2.Dataset
) -> None:
    plan = await platform.plan(base_model=base, dataset=dataset.name, hyperparameters=HOPELESS)
    assert (plan.steps, plan.rows, plan.hyperparameters.batch_size) == (4, 20, 16)
    assert plan.findings[0].code == "TOO_FEW_STEPS"
    assert plan.findings[0].severity == Finding.SEVERITY_HOPELESS
    assert "batch_size 1 with epochs 5" in plan.findings[0].remedy
    assert plan.memory_bytes == sum(plan.memory_parts.values()) > 0
    assert plan.lora_parameters > 0
    assert plan.seconds > 0
    chosen = await platform.plan(base_model=base, dataset=dataset.name)
    assert (chosen.steps, chosen.hyperparameters.batch_size) == (100, 1)
    assert Finding.SEVERITY_HOPELESS not in codes(chosen).values()
    jobs = await platform.jobs.ListTrainingJobs(training_job_pb2.ListTrainingJobsRequest(parent=PARENT, page_size=500))
    assert not [job for job in jobs.training_jobs if job.base_model == base]
    assert not list(platform.uploads.glob("plan-*"))


async def test_a_plan_holds_out_what_the_training_would(
    platform: Platform, base: str, dataset: dataset_pb2.Dataset
) -> None:
    patient = training_job_pb2.Hyperparameters(early_stopping_patience=2)
    asked = {"base_model": base, "dataset": dataset.name, "hyperparameters": patient}
    plan = await platform.plan(**asked, validation_fraction=0.5)
    assert (plan.rows, plan.validation_rows) == (10, 10)
    assert "NO_EARLY_STOPPING" not in codes(plan)
    assert codes(await platform.plan(**asked))["NO_EARLY_STOPPING"] == Finding.SEVERITY_WARNING


async def test_what_rules_a_plan_out_is_a_finding(platform: Platform, base: str, dataset: dataset_pb2.Dataset) -> None:
    wanted = training_job_pb2.Hyperparameters(target_modules=["c_attn"])
    plan = await platform.plan(base_model=base, dataset=dataset.name, hyperparameters=wanted)
    assert codes(plan) == {"UNKNOWN_TARGET_MODULES": Finding.SEVERITY_HOPELESS}
    assert plan.steps == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"base_model": "baseModels/nobody"}, Reason.BASE_MODEL_NOT_FOUND),
        ({"dataset": f"{PARENT}/datasets/nobody"}, Reason.DATASET_NOT_FOUND),
        ({"hyperparameters": training_job_pb2.Hyperparameters(epochs=0)}, Reason.INVALID_ARGUMENT),
    ],
)
async def test_a_plan_of_what_is_not_there(
    platform: Platform, base: str, dataset: dataset_pb2.Dataset, change: dict[str, object], reason: Reason
) -> None:
    with pytest.raises(DomainError) as raised:
        await platform.plan(**{"base_model": base, "dataset": dataset.name, **change})
    assert raised.value.reason is reason


async def test_a_hopeless_job_is_refused_and_trained_when_forced(
    platform: Platform, base: str, dataset: dataset_pb2.Dataset
) -> None:
    asked = {"base_model": base, "dataset": dataset.name, "hyperparameters": HOPELESS}
    with pytest.raises(DomainError) as raised:
        await platform.create(**asked, force=False)
    error = raised.value
    assert error.reason is Reason.PLAN_HOPELESS
    assert [violation.field for violation in error.violations] == ["training_job.hyperparameters.batch_size"]
    assert "batch_size 1 with epochs 5" in error.violations[0].description

    async with platform.worker():
        job = await platform.create(**asked)
        with pytest.raises(DomainError) as early:
            await platform.report(job.name)
        assert early.value.reason is Reason.TRAINING_REPORT_NOT_FOUND
        events = await platform.events(job.name)
    found = [event.finding for event in events if event.HasField("finding")]
    assert [finding.code for finding in found] == ["TOO_FEW_STEPS", "FEW_ROWS", "NO_VALIDATION"]

    done = await platform.get(job.name)
    assert (done.state, done.force) == (State.STATE_SUCCEEDED, True)
    assert list(done.plan.findings) == found
    assert done.plan.steps == done.progress.step == 4
    report = await platform.report(job.name)
    assert report.verdict == training_report_pb2.TrainingReport.VERDICT_NOT_LEARNED
    assert report.forced
    assert not report.HasField("held_out")

    version = await platform.adapters.GetAdapterVersion(adapter_pb2.GetAdapterVersionRequest(name=done.adapter_version))
    manifest = AdapterManifest.from_bytes(version.adapter_version.manifest)
    assert (manifest.training["force"], manifest.training["hopeless"]) == (True, ["TOO_FEW_STEPS"])
    assert manifest.report is not None
    assert manifest.report.reasons == tuple(report.reasons)


async def test_what_only_tokens_tell_fails_the_job_with_its_finding(
    platform: Platform, dataset: dataset_pb2.Dataset
) -> None:
    endless = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ ' | ' }}{% endfor %}"
    directory = make_tiny_base(platform.root / "bases" / "endless", chat_template=endless)
    base = (await platform.add_base("endless", directory)).name
    async with platform.worker():
        job = await platform.create(base_model=base, dataset=dataset.name, force=False)
        events = await platform.events(job.name)
    done = await platform.get(job.name)
    error = from_status(done.error)
    assert error is not None
    assert (done.state, error.reason) == (State.STATE_FAILED, Reason.PLAN_HOPELESS)
    assert error.metadata == {"findings": "NO_END_OF_TURN"}
    assert codes(done.plan)["NO_END_OF_TURN"] == Finding.SEVERITY_HOPELESS
    assert "NO_END_OF_TURN" in [event.finding.code for event in events if event.HasField("finding")]
    assert not [event for event in events if event.HasField("metrics")]


Asked = training_job_pb2.Hyperparameters


async def test_jobs_that_cannot_be_end_with_their_reason_and_its_finding(
    platform: Platform, base: str, dataset: dataset_pb2.Dataset
) -> None:
    # Finite weights, logits beyond the largest number.
    directory = make_tiny_base(platform.root / "bases" / "overflowing", seed=7)
    weights = load_file(directory / "model.safetensors")
    weights["model.norm.weight"] *= 1e38
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    overflowing = await platform.add_base("overflowing", directory)
    masked = await platform.upload(jsonl({"instruction": "x" * 600, "output": "y"} for _ in range(12)))
    cases: dict[str, tuple[dict[str, Any], Reason, str]] = {
        "nothing supervised": (
            {"dataset": masked.name, "hyperparameters": Asked(max_sequence_length=64)},
            Reason.NOTHING_TO_LEARN,
            "NOTHING_SUPERVISED",
        ),
        "not a number": ({"base_model": overflowing.name}, Reason.TRAINING_DIVERGED, "DIVERGED"),
    }
    jobs = [
        await platform.create(**{"base_model": base, "dataset": dataset.name, "force": True, **asked})
        for asked, _, _ in cases.values()
    ]
    async with platform.worker():
        told = [await platform.events(job.name) for job in jobs]
    for (name, (_, reason, code)), job, events in zip(cases.items(), jobs, told, strict=True):
        ended = await platform.get(job.name)
        error = from_status(ended.error)
        assert error is not None
        assert (ended.state, error.reason) == (State.STATE_FAILED, reason), name
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        *_, finding, end = events
        assert (finding.finding.code, finding.finding.text) == (code, error.message), name
        assert end.state_change.state == State.STATE_FAILED


async def test_a_gated_latest_stays_where_it_is(platform: Platform, base: str) -> None:
    """The new version is READY; that the gate kept it out is told."""
    good = await platform.upload(jsonl([{**row, "output": "Yes, it is so."} for row in ROWS]))
    learns = training_job_pb2.Hyperparameters(epochs=10, batch_size=2, learning_rate=1e-2, lora_rank=4, seed=1)
    adapter = f"{PARENT}/adapters/gated"
    async with platform.worker():
        first = await platform.create(base_model=base, dataset=good.name, hyperparameters=learns, adapter=adapter)
        await platform.events(first.name)
        learned = (await platform.get(first.name)).adapter_version
        assert (await platform.report(first.name)).verdict == training_report_pb2.TrainingReport.VERDICT_LEARNED
        alias = adapter_pb2.Alias(name=f"{adapter}/aliases/latest", version=learned, gated=True)
        request = adapter_pb2.UpdateAliasRequest(alias=alias)
        request.update_mask.paths.append("gated")
        assert (await platform.adapters.UpdateAlias(request)).alias.gated
        second = await platform.create(base_model=base, dataset=good.name, hyperparameters=HOPELESS, adapter=adapter)
        events = await platform.events(second.name)
    done = await platform.get(second.name)
    assert done.state == State.STATE_SUCCEEDED
    assert "is gated, and version" in "\n".join(event.message.text for event in events)
    resolved = await platform.adapters.ResolveAdapter(adapter_pb2.ResolveAdapterRequest(name=adapter))
    assert resolved.adapter_version.name == learned
