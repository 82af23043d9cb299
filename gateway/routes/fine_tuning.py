"""``/v1/fine_tuning/jobs``, and Tenon's own watch of a job."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from gateway.mapping.events import checkpoint_id, checkpoint_object, event_id, event_object, watch_event
from gateway.mapping.job_requests import create_request, in_rest_terms, plan_request
from gateway.mapping.jobs import job_object
from gateway.mapping.training import plan_object, report_object
from gateway.names import job_name, last_part, parent
from gateway.routes.common import RequestId, cursor_page
from gateway.schemas.common import Cursor, CursorListing, Deleted
from gateway.schemas.fine_tuning import Checkpoint, CreateJob, EventCursor, Job, JobCursor, JobEvent, WatchQuery
from gateway.schemas.training import TrainingPlan, TrainingReport
from gateway.services import Services, ServicesOf
from gateway.sse import comment, event, event_stream, started, until
from services.common.errors import DomainError
from tenon.trainer.v1 import training_job_pb2

router = APIRouter(tags=["Fine-tuning"])

_PLAN_SECONDS: Final = 300.0
"""A process starts, and every row is tokenised."""

_WATCH_SECONDS: Final = 30 * 24 * 3600.0
"""A watch lasts as long as its job; no job lasts longer."""


@router.post("/v1/fine_tuning/jobs")
async def create_job(body: CreateJob, services: ServicesOf, request_id: RequestId = "") -> Job:
    """Queue the training of an adapter."""
    try:
        answer = await services.jobs.CreateTrainingJob(create_request(body, request_id))
    except DomainError as error:
        raise in_rest_terms(error) from None
    return job_object(answer.training_job)


@router.get("/v1/fine_tuning/jobs")
async def list_jobs(query: Annotated[JobCursor, Query()], services: ServicesOf) -> CursorListing[Job]:
    """List jobs, newest first: all of them, or those with some metadata."""
    labels = query.labels()

    async def fetch(size: int, token: str) -> tuple[Sequence[training_job_pb2.TrainingJob], str]:
        request = training_job_pb2.ListTrainingJobsRequest(parent=parent(), page_size=size, page_token=token)
        page = await services.jobs.ListTrainingJobs(request)
        found = [job for job in page.training_jobs if _chosen(job, labels, without=query.metadata is not None)]
        return found, page.next_page_token

    return await cursor_page(fetch, lambda j: last_part(j.name), job_object, after=query.after, limit=query.limit)


def _chosen(job: training_job_pb2.TrainingJob, labels: Mapping[str, str], *, without: bool) -> bool:
    if without:
        return not job.labels
    return all(job.labels.get(key) == value for key, value in labels.items())


@router.get("/v1/fine_tuning/jobs/{fine_tuning_job_id}")
async def get_job(fine_tuning_job_id: str, services: ServicesOf) -> Job:
    """Describe a job."""
    request = training_job_pb2.GetTrainingJobRequest(name=str(job_name(fine_tuning_job_id)))
    return job_object((await services.jobs.GetTrainingJob(request)).training_job)


@router.post("/v1/fine_tuning/jobs/{fine_tuning_job_id}/cancel")
async def cancel_job(fine_tuning_job_id: str, services: ServicesOf, request_id: RequestId = "") -> Job:
    """Ask for a job to stop; one that has ended stays as it is."""
    request = training_job_pb2.CancelTrainingJobRequest(name=str(job_name(fine_tuning_job_id)), request_id=request_id)
    return job_object((await services.jobs.CancelTrainingJob(request)).training_job)


@router.delete("/v1/training_jobs/{fine_tuning_job_id}")
async def delete_job(fine_tuning_job_id: str, services: ServicesOf, request_id: RequestId = "") -> Deleted:
    """Delete a job that has ended, with its events, report and checkpoints; the version that it made stays."""
    request = training_job_pb2.DeleteTrainingJobRequest(name=str(job_name(fine_tuning_job_id)), request_id=request_id)
    await services.jobs.DeleteTrainingJob(request)
    return Deleted(id=fine_tuning_job_id, object="training_job")


@router.post("/v1/fine_tuning/jobs/{fine_tuning_job_id}/pause")
@router.post("/v1/training_jobs/{fine_tuning_job_id}/pause", name="pause_training_job")
async def pause_job(fine_tuning_job_id: str, services: ServicesOf, request_id: RequestId = "") -> Job:
    """Ask for a job to let go of its worker and wait; its checkpoint is kept."""
    request = training_job_pb2.PauseTrainingJobRequest(name=str(job_name(fine_tuning_job_id)), request_id=request_id)
    return job_object((await services.jobs.PauseTrainingJob(request)).training_job)


@router.post("/v1/fine_tuning/jobs/{fine_tuning_job_id}/resume")
@router.post("/v1/training_jobs/{fine_tuning_job_id}/resume", name="resume_training_job")
async def resume_job(fine_tuning_job_id: str, services: ServicesOf, request_id: RequestId = "") -> Job:
    """Let a paused job go on from its last checkpoint."""
    request = training_job_pb2.ResumeTrainingJobRequest(name=str(job_name(fine_tuning_job_id)), request_id=request_id)
    return job_object((await services.jobs.ResumeTrainingJob(request)).training_job)


@router.get("/v1/fine_tuning/jobs/{fine_tuning_job_id}/events")
async def list_events(
    fine_tuning_job_id: str, query: Annotated[EventCursor, Query()], services: ServicesOf
) -> CursorListing[JobEvent]:
    """List a job's events, newest first."""
    parent = str(job_name(fine_tuning_job_id))

    async def fetch(size: int, token: str) -> tuple[Sequence[training_job_pb2.TrainingJobEvent], str]:
        request = training_job_pb2.ListTrainingJobEventsRequest(
            parent=parent, page_size=size, page_token=token, descending=True
        )
        page = await services.jobs.ListTrainingJobEvents(request)
        return page.events, page.next_page_token

    return await cursor_page(
        fetch,
        lambda e: event_id(fine_tuning_job_id, e.sequence),
        lambda e: event_object(fine_tuning_job_id, e),
        after=query.after,
        limit=query.limit,
    )


@router.get("/v1/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints")
@router.get("/v1/training_jobs/{fine_tuning_job_id}/checkpoints", name="list_training_job_checkpoints")
async def list_checkpoints(
    fine_tuning_job_id: str, query: Annotated[Cursor, Query()], services: ServicesOf
) -> CursorListing[Checkpoint]:
    """List the checkpoints that a job has kept, newest first."""
    parent = str(job_name(fine_tuning_job_id))

    async def fetch(size: int, token: str) -> tuple[Sequence[training_job_pb2.TrainingJobCheckpoint], str]:
        request = training_job_pb2.ListTrainingJobCheckpointsRequest(parent=parent, page_size=size, page_token=token)
        page = await services.jobs.ListTrainingJobCheckpoints(request)
        return page.checkpoints, page.next_page_token

    return await cursor_page(
        fetch,
        lambda c: checkpoint_id(fine_tuning_job_id, c),
        lambda c: checkpoint_object(fine_tuning_job_id, c),
        after=query.after,
        limit=query.limit,
    )


@router.post("/v1/training_jobs/plan")
async def plan_job(body: CreateJob, services: ServicesOf) -> TrainingPlan:
    """Reckon what a job would be, and queue nothing; takes what POST /v1/fine_tuning/jobs takes."""
    try:
        answer = await services.jobs.PlanTrainingJob(plan_request(body), timeout=_PLAN_SECONDS)
    except DomainError as error:
        raise in_rest_terms(error) from None
    return plan_object(answer.plan)


@router.get("/v1/training_jobs/{training_job_id}/report")
async def get_report(training_job_id: str, services: ServicesOf) -> TrainingReport:
    """What a job's training has taught, with its verdict."""
    request = training_job_pb2.GetTrainingReportRequest(name=str(job_name(training_job_id)))
    return report_object(training_job_id, (await services.jobs.GetTrainingReport(request)).report)


@router.get("/v1/training_jobs/{training_job_id}/watch", response_class=StreamingResponse)
async def watch_job(
    training_job_id: str, query: Annotated[WatchQuery, Query()], request: Request, services: ServicesOf
) -> StreamingResponse:
    """Follow a job: server-sent events, the ``job`` first, then each ``event``; ends after the final state."""
    updates = await started(_watch(services, training_job_id, query.after))
    return event_stream(until(updates, request.app.state.stopping))


async def _watch(services: Services, job_id: str, after: int) -> AsyncIterator[str]:
    request = training_job_pb2.WatchTrainingJobRequest(name=str(job_name(job_id)), after_sequence=after)
    call = services.jobs.WatchTrainingJob(request, timeout=_WATCH_SECONDS)
    try:
        async for update in call:
            yield _write_update(update)
    finally:
        call.cancel()


def _write_update(update: training_job_pb2.WatchTrainingJobResponse) -> str:
    match update.WhichOneof("update"):
        case "training_job":
            return event({"job": job_object(update.training_job).model_dump()})
        case "event":
            return event({"event": watch_event(update.event)})
        case _:
            return comment("heartbeat")
