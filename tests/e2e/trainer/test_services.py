"""The contracts of DatasetService and TrainingJobService over gRPC: what is stored, and every status they promise."""

import asyncio
import hashlib
import json
import random
from collections.abc import AsyncIterator
from uuid import uuid4

import grpc
import pytest
from grpc import aio

from services.common.errors import DomainError, Reason
from services.common.rpc.channel import open_channel, to_domain_error
from services.registry import convert as registry_convert
from tenon.registry.v1 import base_model_pb2
from tenon.trainer.v1 import dataset_pb2, training_job_pb2, training_job_pb2_grpc
from tests.e2e.trainer.platform import (
    PARENT,
    PAYLOAD_LIMIT,
    ROWS,
    Platform,
    State,
    jsonl,
    serving,
    trainer_settings,
    upload_messages,
)
from tests.support.registry import fingerprint

GOOD = jsonl(ROWS)


@pytest.fixture(scope="module")
async def base(platform: Platform) -> str:
    known = fingerprint()
    model = base_model_pb2.BaseModel(
        fingerprint=registry_convert.fingerprint(known, known.to_document()), sources=["file:///bases/tiny"]
    )
    request = base_model_pb2.CreateBaseModelRequest(base_model_id="paper", base_model=model)
    return (await platform.base_models.CreateBaseModel(request)).base_model.name


async def checked(platform: Platform, content: bytes) -> list[dataset_pb2.CheckDatasetResponse]:
    async def messages() -> AsyncIterator[dataset_pb2.CheckDatasetRequest]:
        yield dataset_pb2.CheckDatasetRequest(format=dataset_pb2.DATASET_FORMAT_UNSPECIFIED)
        for start in range(0, len(content), PAYLOAD_LIMIT):
            yield dataset_pb2.CheckDatasetRequest(chunk=content[start : start + PAYLOAD_LIMIT])

    return [response async for response in platform.streams.CheckDataset(messages())]


async def refused(call: object) -> DomainError:
    with pytest.raises(DomainError) as raised:
        await call  # type: ignore[misc]  # any awaitable
    return raised.value


async def stored(platform: Platform) -> int:
    request = dataset_pb2.ListDatasetsRequest(parent=PARENT, page_size=500)
    return len((await platform.datasets.ListDatasets(request)).datasets)


async def test_an_upload_is_kept_as_it_is(platform: Platform) -> None:
    content = "\n".join(json.dumps(row, ensure_ascii=False) for row in [*ROWS, {**ROWS[0], "output": "悟空"}]).encode()
    dataset = await platform.upload(content, display_name="问答.jsonl")
    assert dataset.display_name == "问答.jsonl"
    assert dataset.format == dataset_pb2.DATASET_FORMAT_ALPACA
    assert (dataset.size_bytes, dataset.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (dataset.statistics.row_count, dataset.statistics.answer_count) == (9, 9)
    got = await platform.datasets.GetDataset(dataset_pb2.GetDatasetRequest(name=dataset.name))
    assert got.dataset == dataset
    request = dataset_pb2.DownloadDatasetRequest(name=dataset.name)
    assert b"".join([part.chunk async for part in platform.streams.DownloadDataset(request)]) == content


async def test_a_file_with_faults_is_refused_with_the_first_ones_and_not_stored(platform: Platform) -> None:
    before = await stored(platform)
    rows = [{"instruction": "缺少答案" * 20, "output": n} for n in range(500)]
    error = await refused(platform.upload(GOOD + jsonl(rows)))
    assert (error.reason, error.code) == (Reason.DATASET_INVALID, grpc.StatusCode.INVALID_ARGUMENT)
    assert int(error.metadata["faults"]) >= 500
    assert 1 <= len(error.violations) <= 20
    assert error.violations[0].field.startswith("line 9")
    assert await stored(platform) == before


async def test_the_error_of_a_faulty_file_fits_into_trailers(platform: Platform) -> None:
    # 8 KiB is what proxies and other gRPC implementations allow for them.
    rows = [{"冗长的键" * 100 + str(n): "错" * 500} for n in range(50)]
    with pytest.raises(aio.AioRpcError) as raised:
        await platform.streams.UploadDataset(
            upload_messages(GOOD + jsonl(rows), dataset_pb2.DatasetUploadSpec(parent=PARENT))
        )
    trailers = list(raised.value.trailing_metadata() or ())
    size = sum(len(key) + len(value) * 4 // 3 for key, value in trailers)
    assert size + 3 * len((raised.value.details() or "").encode()) < 8192
    assert to_domain_error(raised.value, "").reason is Reason.DATASET_INVALID


@pytest.mark.parametrize("content", [b"", b"\n\n", b"[]"])
async def test_an_empty_file_is_refused(platform: Platform, content: bytes) -> None:
    error = await refused(platform.upload(content))
    assert (error.reason, error.code) == (Reason.DATASET_EMPTY, grpc.StatusCode.INVALID_ARGUMENT)


@pytest.mark.parametrize(
    "content", [GOOD[:-20], b"\xff\xfe\x00rubbish", jsonl([ROWS[0], {"prompt": "a", "completion": "b"}])]
)
async def test_a_broken_file_is_refused(platform: Platform, content: bytes) -> None:
    assert (await refused(platform.upload(content))).reason is Reason.DATASET_INVALID


async def test_a_file_over_the_limit_is_refused(platform: Platform) -> None:
    error = await refused(platform.upload(GOOD * 4000))
    assert (error.reason, error.code) == (Reason.LIMIT_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert error.metadata == {"limit": str(1024 * 1024)}
    for _ in range(5):
        with pytest.raises(aio.AioRpcError) as raised:
            await checked(platform, GOOD * 4000)
        # A piece that is on its way when the answer comes now and then fails in grpc's own client before the answer is read.
        if "SendMessageOperation" not in (raised.value.debug_error_string() or ""):
            break
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_row_over_the_limit_is_a_fault_with_its_line(platform: Platform) -> None:
    long = jsonl([{"instruction": "q", "output": "x" * 100_000}])
    error = await refused(platform.upload(GOOD + long + GOOD))
    assert error.reason is Reason.DATASET_INVALID
    assert [violation.field for violation in error.violations] == [f"line {len(ROWS) + 1}"]
    assert "65,536 are allowed" in error.violations[0].description


async def test_a_check_tells_every_fault_and_stores_nothing(platform: Platform) -> None:
    before = await stored(platform)
    random.seed(5)
    bad = sorted(random.sample(range(400), 250))
    rows = [
        {"instruction": "q", "output": ""} if n in bad else {"instruction": f"q{n}", "output": "a"} for n in range(400)
    ]
    answers = await checked(platform, jsonl(rows))
    faults = [fault for answer in answers for fault in answer.faults]
    assert [fault.line - 1 for fault in faults] == bad
    assert all(not answer.HasField("statistics") for answer in answers[:-1])
    assert answers[-1].format == dataset_pb2.DATASET_FORMAT_ALPACA
    assert (answers[-1].statistics.row_count, answers[-1].statistics.faulty_row_count) == (150, 250)
    assert await stored(platform) == before


async def test_a_stream_out_of_order_is_refused(platform: Platform) -> None:
    async def bare() -> AsyncIterator[dataset_pb2.UploadDatasetRequest]:
        yield dataset_pb2.UploadDatasetRequest(chunk=b"x")

    async def twice() -> AsyncIterator[dataset_pb2.UploadDatasetRequest]:
        for _ in range(2):
            yield dataset_pb2.UploadDatasetRequest(spec=dataset_pb2.DatasetUploadSpec(parent=PARENT))

    for messages in (bare(), twice()):
        with pytest.raises(aio.AioRpcError) as raised:
            await platform.streams.UploadDataset(messages)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "spec",
    [
        {"parent": "projects/../x"},
        {"display_name": "x" * 256},
        {"display_name": "a\nb"},
        {"format": 77},
        {"request_id": "not-a-uuid"},
    ],
)
async def test_a_bad_spec_is_refused(platform: Platform, spec: dict[str, object]) -> None:
    assert (await refused(platform.upload(GOOD, **spec))).reason is Reason.INVALID_ARGUMENT


async def test_a_repeated_upload_gets_the_first_answer(platform: Platform) -> None:
    request_id = str(uuid4())
    first = await platform.upload(GOOD, request_id=request_id)
    before = await stored(platform)
    assert await platform.upload(GOOD, request_id=request_id) == first
    assert await stored(platform) == before
    error = await refused(platform.upload(GOOD + GOOD, request_id=request_id))
    assert error.reason is Reason.REQUEST_ID_REUSED


async def test_lists_are_paged(platform: Platform) -> None:
    names = [(await platform.upload(GOOD)).name for _ in range(5)]
    request = dataset_pb2.ListDatasetsRequest(parent=PARENT, page_size=2)
    found: list[str] = []
    tokens: list[str] = []
    while len(found) < 5:
        page = await platform.datasets.ListDatasets(request)
        found += [dataset.name for dataset in page.datasets]
        request.page_token = page.next_page_token
        tokens.append(page.next_page_token)
    assert found[:5] == names[::-1]
    # Of the first page: the last may have no other behind it.
    request.page_token = tokens[0]
    request.parent = "projects/other"
    assert (await refused(platform.datasets.ListDatasets(request))).reason is Reason.INVALID_ARGUMENT
    request.page_size = -1
    assert (await refused(platform.datasets.ListDatasets(request))).reason is Reason.INVALID_ARGUMENT


async def test_a_deleted_data_set_is_gone_with_its_bytes(platform: Platform) -> None:
    content = jsonl([{"prompt": "only", "completion": "here"}])
    kept, gone = await platform.upload(content), await platform.upload(content)
    blobs = platform.root / "artifacts" / "projects" / "default" / "blobs" / "sha256" / gone.sha256[:2] / gone.sha256
    for dataset, there_afterwards in ((gone, True), (kept, False)):
        await platform.datasets.DeleteDataset(dataset_pb2.DeleteDatasetRequest(name=dataset.name))
        assert blobs.exists() is there_afterwards
    for call in (
        platform.datasets.GetDataset(dataset_pb2.GetDatasetRequest(name=gone.name)),
        platform.datasets.DeleteDataset(dataset_pb2.DeleteDatasetRequest(name=gone.name)),
    ):
        error = await refused(call)
        assert (error.reason, error.code) == (Reason.DATASET_NOT_FOUND, grpc.StatusCode.NOT_FOUND)


@pytest.mark.parametrize("damage", ["changed", "removed"])
async def test_damaged_bytes_are_not_passed_off_as_the_data_set(platform: Platform, damage: str) -> None:
    dataset = await platform.upload(jsonl([{"prompt": damage, "completion": "x" * 3000}]))
    blob = platform.root / "artifacts/projects/default/blobs/sha256" / dataset.sha256[:2] / dataset.sha256
    blob.chmod(0o600)
    if damage == "changed":
        content = bytearray(blob.read_bytes())
        content[100] ^= 1
        blob.write_bytes(content)
    else:
        blob.unlink()
    with pytest.raises(aio.AioRpcError) as raised:
        async for _ in platform.streams.DownloadDataset(dataset_pb2.DownloadDatasetRequest(name=dataset.name)):
            pass
    assert raised.value.code() is grpc.StatusCode.DATA_LOSS
    assert to_domain_error(raised.value, "").reason is Reason.ARTIFACT_CORRUPT


async def test_a_data_set_that_a_queued_job_needs_cannot_be_deleted(platform: Platform, base: str) -> None:
    dataset = await platform.upload(GOOD)
    job = await platform.create(base_model=base, dataset=dataset.name)
    delete = dataset_pb2.DeleteDatasetRequest(name=dataset.name)
    error = await refused(platform.datasets.DeleteDataset(delete))
    assert (error.reason, error.code) == (Reason.DATASET_IN_USE, grpc.StatusCode.FAILED_PRECONDITION)
    await platform.cancel(job.name)
    await platform.datasets.DeleteDataset(delete)


async def test_every_field_at_fault_is_named(platform: Platform) -> None:
    job = training_job_pb2.TrainingJob(
        base_model="models/x",
        dataset="projects/other/datasets/d",
        adapter=f"{PARENT}/adapters/UPPER",
        labels={"": "v"},
        hyperparameters=training_job_pb2.Hyperparameters(
            epochs=0, learning_rate=float("nan"), lora_rank=513, seed=-1, target_modules=["a..b"]
        ),
    )
    request = training_job_pb2.CreateTrainingJobRequest(parent=PARENT, training_job=job, training_job_id="-")
    error = await refused(platform.jobs.CreateTrainingJob(request))
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    prefix = "training_job.hyperparameters."
    assert [violation.field for violation in error.violations] == [
        "training_job_id",
        "training_job.base_model",
        "training_job.dataset",
        "training_job.adapter",
        "training_job.labels",
        f"{prefix}epochs",
        f"{prefix}learning_rate",
        f"{prefix}lora_rank",
        f"{prefix}seed",
        f"{prefix}target_modules",
    ]


async def test_what_a_job_names_must_exist(platform: Platform, base: str) -> None:
    dataset = await platform.upload(GOOD)
    missing = f"{PARENT}/datasets/none"
    for job, reason in (
        ({"base_model": "baseModels/none", "dataset": dataset.name}, Reason.BASE_MODEL_NOT_FOUND),
        ({"base_model": base, "dataset": missing}, Reason.DATASET_NOT_FOUND),
        ({"base_model": base, "dataset": dataset.name, "validation_dataset": missing}, Reason.DATASET_NOT_FOUND),
    ):
        error = await refused(platform.create(**job))
        assert (error.reason, error.code) == (reason, grpc.StatusCode.NOT_FOUND)


async def test_a_job_id_is_taken_once_and_a_repeated_call_is_answered_alike(platform: Platform, base: str) -> None:
    dataset = await platform.upload(GOOD)
    request = training_job_pb2.CreateTrainingJobRequest(
        parent=PARENT,
        training_job_id="mine",
        request_id=str(uuid4()),
        training_job=training_job_pb2.TrainingJob(
            base_model=base, dataset=dataset.name, adapter=f"{PARENT}/adapters/a", force=True
        ),
    )
    first = await platform.jobs.CreateTrainingJob(request)
    await platform.cancel(first.training_job.name)
    assert await platform.jobs.CreateTrainingJob(request) == first
    assert first.training_job.state == State.STATE_QUEUED
    assert first.training_job.base_fingerprint_id == fingerprint().id
    request.request_id = ""
    error = await refused(platform.jobs.CreateTrainingJob(request))
    assert (error.reason, error.code) == (Reason.TRAINING_JOB_EXISTS, grpc.StatusCode.ALREADY_EXISTS)


async def test_an_unknown_job_is_not_found(platform: Platform) -> None:
    name = f"{PARENT}/trainingJobs/none"
    for call in (
        platform.get(name),
        platform.cancel(name),
        platform.jobs.ListTrainingJobEvents(training_job_pb2.ListTrainingJobEventsRequest(parent=name)),
        platform.events(name),
    ):
        error = await refused(call)
        assert (error.reason, error.code) == (Reason.TRAINING_JOB_NOT_FOUND, grpc.StatusCode.NOT_FOUND)


async def test_a_watch_shows_the_job_then_events_heartbeats_and_an_end(platform: Platform, base: str) -> None:
    dataset = await platform.upload(GOOD)
    job = await platform.create(base_model=base, dataset=dataset.name)
    seen: list[str] = []
    async for response in platform.watch(job.name):
        seen.append(str(response.WhichOneof("update")))
        if seen == ["training_job", "event", "heartbeat"]:
            assert (await platform.cancel(job.name)).state == State.STATE_CANCELLED
    assert seen[:3] == ["training_job", "event", "heartbeat"]
    assert seen[-1] == "event"
    # Seen it all, or claims to: there is nothing to wait for.
    for after in (2, 99):
        assert [r.WhichOneof("update") async for r in platform.watch(job.name, after)] == ["training_job"]
    assert [event.sequence for event in await platform.events(job.name)] == [1, 2]
    error = await refused(anext(platform.watch(job.name, -1)))
    assert error.violations[0].field == "after_sequence"


async def test_events_are_paged_both_ways(platform: Platform, base: str) -> None:
    dataset = await platform.upload(GOOD)
    job = await platform.create(base_model=base, dataset=dataset.name)
    await platform.cancel(job.name)
    for descending, order in ((False, [1, 2]), (True, [2, 1])):
        request = training_job_pb2.ListTrainingJobEventsRequest(parent=job.name, page_size=1, descending=descending)
        found: list[int] = []
        for _ in order:
            page = await platform.jobs.ListTrainingJobEvents(request)
            found += [event.sequence for event in page.events]
            request.page_token = page.next_page_token
        assert found == order
        assert not request.page_token
    request = training_job_pb2.ListTrainingJobEventsRequest(parent=job.name, page_size=-1)
    assert (await refused(platform.jobs.ListTrainingJobEvents(request))).reason is Reason.INVALID_ARGUMENT


async def test_jobs_are_listed_newest_first(platform: Platform, base: str) -> None:
    dataset = await platform.upload(GOOD)
    names = [(await platform.create(base_model=base, dataset=dataset.name)).name for _ in range(3)]
    request = training_job_pb2.ListTrainingJobsRequest(parent=PARENT, page_size=2)
    first = await platform.jobs.ListTrainingJobs(request)
    request.page_token = first.next_page_token
    second = await platform.jobs.ListTrainingJobs(request)
    found = [job.name for job in (*first.training_jobs, *second.training_jobs)]
    assert found[:3] == names[::-1]
    for name in names:
        await platform.cancel(name)


async def to_the_end(watch: AsyncIterator[object]) -> None:
    async for _ in watch:
        pass


async def test_without_postgres_calls_are_unavailable_and_watches_end_so(platform: Platform, base: str) -> None:
    dataset = await platform.upload(GOOD)
    job = await platform.create(base_model=base, dataset=dataset.name)
    watch = platform.watch(job.name)
    assert (await anext(watch)).HasField("training_job")
    assert (await anext(watch)).HasField("event")
    platform.postgres.stop()
    try:
        calls = (to_the_end(watch), platform.get(job.name), platform.upload(GOOD))
        errors = await asyncio.gather(*(refused(call) for call in calls))
    finally:
        platform.postgres.start()
    assert [error.reason for error in errors] == [Reason.DATABASE_UNAVAILABLE] * 3
    assert all(error.retry_after for error in errors)
    assert (await platform.get(job.name)).state == State.STATE_QUEUED
    assert (await platform.cancel(job.name)).state == State.STATE_CANCELLED


async def test_without_the_registry_no_job_is_created(platform: Platform) -> None:
    dataset = await platform.upload(GOOD)
    settings = trainer_settings(platform.postgres.url(), platform.root, "127.0.0.1:9")
    request = training_job_pb2.CreateTrainingJobRequest(
        parent=PARENT,
        training_job=training_job_pb2.TrainingJob(
            base_model="baseModels/paper", dataset=dataset.name, adapter=f"{PARENT}/adapters/a"
        ),
    )
    async with serving(settings) as address, open_channel(address) as channel:
        error = await refused(training_job_pb2_grpc.TrainingJobServiceStub(channel).CreateTrainingJob(request))
    assert (error.reason, error.code) == (Reason.SERVICE_UNAVAILABLE, grpc.StatusCode.UNAVAILABLE)
    assert error.retry_after
