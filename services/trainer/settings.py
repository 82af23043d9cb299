"""Settings of the trainer's two processes: the server and the worker."""

from pathlib import Path

from pydantic import Field

from services.common.settings import (
    MIB,
    ArtifactSettings,
    AuthSettings,
    BaseFilesSettings,
    CommonSettings,
    DatabaseSettings,
    RegistryClientSettings,
    ServerSettings,
    SigningSettings,
    TrustSettings,
)


class QueueSettings(CommonSettings):
    """How workers hold jobs."""

    job_lease_seconds: float = Field(
        30.0, ge=0.2, description="How long a worker may be silent before its job goes to another one."
    )
    job_max_attempts: int = Field(
        3,
        ge=1,
        le=100,
        description="A job fails when so many workers were lost with it and no checkpoint came in between.",
    )
    job_project_limit: int | None = Field(
        None, ge=1, description="How many jobs of a project may run at once; unset: as many as there are workers."
    )


class TrainerSettings(
    ServerSettings,
    DatabaseSettings,
    ArtifactSettings,
    RegistryClientSettings,
    BaseFilesSettings,
    QueueSettings,
    SigningSettings,
    TrustSettings,
):
    """What ``python -m services.trainer`` understands."""

    dataset_max_bytes: int = Field(2048 * MIB, ge=1, description="Largest data set accepted, in bytes.")
    dataset_max_row_bytes: int = Field(8 * MIB, ge=1, description="Longest row of a data set accepted, in bytes.")
    adapter_max_bytes: int = Field(2048 * MIB, ge=1, description="Largest adapter accepted by an import, in bytes.")
    upload_dir: Path | None = Field(
        None, description="Where uploads lie while they are checked; unset: the system's temporary directory."
    )
    tidy_seconds: float = Field(
        3600.0,
        ge=0,
        description="How often bytes that nothing refers to are deleted from the artifact store, and what is older than is kept; "
        "0: never.",
    )
    collect_grace_seconds: float = Field(
        86400.0,
        ge=0,
        description="How long bytes stay that nothing refers to; longer than others take from putting them to registering them.",
    )
    job_event_retention_days: float | None = Field(
        None,
        gt=0,
        description="Steps, messages and checkpoints of jobs that ended so long ago are forgotten; unset: never.",
    )
    dataset_retention_days: float | None = Field(
        None, gt=0, description="Data sets that for so long nobody uploaded or trained on are deleted; unset: never."
    )
    watch_reread_seconds: float = Field(
        5.0, gt=0, description="How often a watch looks for news by itself, and sends a heartbeat if there is none."
    )


class WorkerSettings(
    AuthSettings,
    DatabaseSettings,
    ArtifactSettings,
    RegistryClientSettings,
    BaseFilesSettings,
    QueueSettings,
    SigningSettings,
):
    """What ``python -m services.trainer.worker`` understands."""

    worker_poll_seconds: float = Field(
        2.0, gt=0, le=60, description="How often a worker looks for jobs and cancellations when nothing wakes it."
    )
    worker_stop_seconds: float = Field(
        10.0, ge=0, description="How long a training process may take to end before it is killed."
    )
    worker_flush_seconds: float = Field(0.5, gt=0, le=60, description="How often training metrics are written.")
    worker_threads: int | None = Field(
        None, ge=1, description="CPU threads of a training process; unset: one for a very small base, else all cores."
    )
    worker_pause_seconds: float = Field(
        60.0,
        ge=0,
        description="How long a job that pauses may take to the end of its step before the step is given up.",
    )
    checkpoint_seconds: float | None = Field(
        60.0, gt=0, description="How often a running job is kept, so that it can go on from there if its worker dies."
    )
    checkpoint_steps: int | None = Field(None, ge=1, description="The same in optimizer steps; unset: by time alone.")
    ready_file: Path | None = Field(None, description="Written once the process works; for its supervisor.")
