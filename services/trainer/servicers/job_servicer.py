"""``tenon.trainer.v1.TrainingJobService``."""

# gRPC fixes the names and the signatures of these methods.
# ruff: noqa: ARG002, N802

from collections.abc import AsyncIterator
from typing import Any

from grpc import aio

from services.common.idempotency import request_key
from services.common.resource_names import ProjectName, TrainingJobName
from services.trainer.jobs.jobs import Jobs
from services.trainer.jobs.planner import Planner
from services.trainer.jobs.watch import Watcher
from services.trainer.model import TrainingJob
from services.trainer.servicers.convert import (
    checkpoint_to_proto,
    draft_from_proto,
    event_to_proto,
    filter_from_proto,
    job_to_proto,
    reckoned_to_proto,
    update_to_proto,
)
from services.trainer.servicers.convert_plan import report_to_proto
from services.trainer.servicers.once import Once
from tenon.trainer.v1 import training_job_pb2, training_job_pb2_grpc

Context = aio.ServicerContext[Any, Any]


class TrainingJobServicer(training_job_pb2_grpc.TrainingJobServiceServicer):
    """Messages in, use case, messages out."""

    def __init__(self, jobs: Jobs, watcher: Watcher, planner: Planner) -> None:
        """Serve these jobs."""
        self._jobs = jobs
        self._planner = planner
        self._watcher = watcher

    async def CreateTrainingJob(
        self, request: training_job_pb2.CreateTrainingJobRequest, context: Context
    ) -> training_job_pb2.CreateTrainingJobResponse:
        """Queue a job."""
        project = ProjectName.parse(request.parent, "parent").project
        key = request_key(project, request)
        return await self._jobs.create(
            draft_from_proto(request), Once(key, training_job_pb2.CreateTrainingJobResponse, _created)
        )

    async def PlanTrainingJob(
        self, request: training_job_pb2.PlanTrainingJobRequest, context: Context
    ) -> training_job_pb2.PlanTrainingJobResponse:
        """Reckon what a job would be."""
        reckoned = await self._planner.plan(draft_from_proto(request))
        return training_job_pb2.PlanTrainingJobResponse(plan=reckoned_to_proto(reckoned))

    async def GetTrainingReport(
        self, request: training_job_pb2.GetTrainingReportRequest, context: Context
    ) -> training_job_pb2.GetTrainingReportResponse:
        """Return what a training has taught."""
        report = await self._jobs.report(TrainingJobName.parse(request.name))
        return training_job_pb2.GetTrainingReportResponse(report=report_to_proto(report))

    async def GetTrainingJob(
        self, request: training_job_pb2.GetTrainingJobRequest, context: Context
    ) -> training_job_pb2.GetTrainingJobResponse:
        """Return one job."""
        job = await self._jobs.get(TrainingJobName.parse(request.name))
        return training_job_pb2.GetTrainingJobResponse(training_job=job_to_proto(job))

    async def ListTrainingJobs(
        self, request: training_job_pb2.ListTrainingJobsRequest, context: Context
    ) -> training_job_pb2.ListTrainingJobsResponse:
        """List jobs."""
        jobs, token = await self._jobs.page(filter_from_proto(request), request.page_size, request.page_token)
        return training_job_pb2.ListTrainingJobsResponse(training_jobs=map(job_to_proto, jobs), next_page_token=token)

    async def CancelTrainingJob(
        self, request: training_job_pb2.CancelTrainingJobRequest, context: Context
    ) -> training_job_pb2.CancelTrainingJobResponse:
        """Ask for a job to stop."""
        name = TrainingJobName.parse(request.name)
        key = request_key(name.project, request)
        return await self._jobs.cancel(name, Once(key, training_job_pb2.CancelTrainingJobResponse, _cancelled))

    async def PauseTrainingJob(
        self, request: training_job_pb2.PauseTrainingJobRequest, context: Context
    ) -> training_job_pb2.PauseTrainingJobResponse:
        """Ask for a job to let go of its worker."""
        name = TrainingJobName.parse(request.name)
        key = request_key(name.project, request)
        return await self._jobs.pause(name, Once(key, training_job_pb2.PauseTrainingJobResponse, _paused))

    async def ResumeTrainingJob(
        self, request: training_job_pb2.ResumeTrainingJobRequest, context: Context
    ) -> training_job_pb2.ResumeTrainingJobResponse:
        """Let a paused job go on."""
        name = TrainingJobName.parse(request.name)
        key = request_key(name.project, request)
        return await self._jobs.resume(name, Once(key, training_job_pb2.ResumeTrainingJobResponse, _resumed))

    async def DeleteTrainingJob(
        self, request: training_job_pb2.DeleteTrainingJobRequest, context: Context
    ) -> training_job_pb2.DeleteTrainingJobResponse:
        """Forget a job that has ended."""
        name = TrainingJobName.parse(request.name)
        key = request_key(name.project, request)
        return await self._jobs.delete(name, Once(key, training_job_pb2.DeleteTrainingJobResponse, _deleted))

    async def ListTrainingJobCheckpoints(
        self, request: training_job_pb2.ListTrainingJobCheckpointsRequest, context: Context
    ) -> training_job_pb2.ListTrainingJobCheckpointsResponse:
        """List a job's checkpoints."""
        name = TrainingJobName.parse(request.parent, "parent")
        found, token = await self._jobs.checkpoints(name, request.page_size, request.page_token)
        return training_job_pb2.ListTrainingJobCheckpointsResponse(
            checkpoints=[checkpoint_to_proto(name, checkpoint) for checkpoint in found], next_page_token=token
        )

    async def ListTrainingJobEvents(
        self, request: training_job_pb2.ListTrainingJobEventsRequest, context: Context
    ) -> training_job_pb2.ListTrainingJobEventsResponse:
        """List a job's events."""
        name = TrainingJobName.parse(request.parent, "parent")
        events, token = await self._jobs.events(
            name, request.page_size, request.page_token, descending=request.descending
        )
        return training_job_pb2.ListTrainingJobEventsResponse(events=map(event_to_proto, events), next_page_token=token)

    async def WatchTrainingJob(
        self, request: training_job_pb2.WatchTrainingJobRequest, context: Context
    ) -> AsyncIterator[training_job_pb2.WatchTrainingJobResponse]:
        """Follow a job to its end."""
        async for update in self._watcher.watch(TrainingJobName.parse(request.name), request.after_sequence):
            yield update_to_proto(update)


def _created(job: TrainingJob) -> training_job_pb2.CreateTrainingJobResponse:
    return training_job_pb2.CreateTrainingJobResponse(training_job=job_to_proto(job))


def _cancelled(job: TrainingJob) -> training_job_pb2.CancelTrainingJobResponse:
    return training_job_pb2.CancelTrainingJobResponse(training_job=job_to_proto(job))


def _paused(job: TrainingJob) -> training_job_pb2.PauseTrainingJobResponse:
    return training_job_pb2.PauseTrainingJobResponse(training_job=job_to_proto(job))


def _resumed(job: TrainingJob) -> training_job_pb2.ResumeTrainingJobResponse:
    return training_job_pb2.ResumeTrainingJobResponse(training_job=job_to_proto(job))


def _deleted(_: None) -> training_job_pb2.DeleteTrainingJobResponse:
    return training_job_pb2.DeleteTrainingJobResponse()
