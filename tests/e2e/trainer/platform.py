"""Registry, trainer and workers, and short ways to what tests do with them."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpc import aio
from pydantic import SecretStr

from services.common.identity import fingerprint_base
from services.common.rpc.channel import open_channel, to_domain_error
from services.common.rpc.server import running_server
from services.common.settings import MIB
from services.registry import convert as registry_convert
from services.trainer.__main__ import trainer
from services.trainer.settings import TrainerSettings
from tenon.registry.v1 import adapter_pb2_grpc, base_model_pb2, base_model_pb2_grpc
from tenon.trainer.v1 import (
    adapter_transfer_pb2,
    adapter_transfer_pb2_grpc,
    dataset_pb2,
    dataset_pb2_grpc,
    training_job_pb2,
    training_job_pb2_grpc,
    training_report_pb2,
)
from tests.support.keys import secret_key_file, trusted_key_file
from tests.support.postgres import PostgresServer
from tests.support.registry import registry_settings, running_registry

PARENT = "projects/default"
PAYLOAD_LIMIT = 64 * 1024

ROWS = [{"instruction": f"Who are you, number {n}?", "input": "", "output": f"I am number {n}."} for n in range(8)]

State = training_job_pb2.TrainingJob
Event = training_job_pb2.TrainingJobEvent


@dataclass(frozen=True)
class Platform:
    """A running platform. Calls go over Tenon's own channel, streams over a plain one, as another platform opens it."""

    root: Path
    postgres: PostgresServer
    registry_address: str
    signing_key_file: Path
    base_models: "base_model_pb2_grpc.BaseModelServiceAsyncStub"
    adapters: "adapter_pb2_grpc.AdapterServiceAsyncStub"
    datasets: "dataset_pb2_grpc.DatasetServiceAsyncStub"
    jobs: "training_job_pb2_grpc.TrainingJobServiceAsyncStub"
    transfers: "adapter_transfer_pb2_grpc.AdapterTransferServiceAsyncStub"
    streams: "dataset_pb2_grpc.DatasetServiceAsyncStub"
    watches: "training_job_pb2_grpc.TrainingJobServiceAsyncStub"

    async def add_base(self, base_id: str, directory: Path) -> base_model_pb2.BaseModel:
        fingerprint = await asyncio.to_thread(fingerprint_base, directory)
        model = base_model_pb2.BaseModel(
            fingerprint=registry_convert.fingerprint(fingerprint, fingerprint.to_document()),
            sources=[directory.as_uri()],
        )
        request = base_model_pb2.CreateBaseModelRequest(base_model_id=base_id, base_model=model)
        return (await self.base_models.CreateBaseModel(request)).base_model

    async def upload(self, content: bytes, **spec: Any) -> dataset_pb2.Dataset:
        spec = {"parent": PARENT, "display_name": "rows.jsonl", **spec}
        with typed_errors():
            answer = await self.streams.UploadDataset(upload_messages(content, dataset_pb2.DatasetUploadSpec(**spec)))
        return answer.dataset

    async def create(self, **job: Any) -> training_job_pb2.TrainingJob:
        # Their rows are few, and most tests are about something else than what these teach.
        job = {"adapter": f"{PARENT}/adapters/wukong", "force": True, **job}
        request = training_job_pb2.CreateTrainingJobRequest(
            parent=PARENT, training_job=training_job_pb2.TrainingJob(**job)
        )
        return (await self.jobs.CreateTrainingJob(request)).training_job

    async def get(self, name: str) -> training_job_pb2.TrainingJob:
        return (await self.jobs.GetTrainingJob(training_job_pb2.GetTrainingJobRequest(name=name))).training_job

    async def plan(self, **job: Any) -> training_job_pb2.TrainingPlan:
        request = training_job_pb2.PlanTrainingJobRequest(
            parent=PARENT, training_job=training_job_pb2.TrainingJob(**job)
        )
        return (await self.jobs.PlanTrainingJob(request, timeout=120)).plan

    async def report(self, name: str) -> training_report_pb2.TrainingReport:
        request = training_job_pb2.GetTrainingReportRequest(name=name)
        return (await self.jobs.GetTrainingReport(request)).report

    async def cancel(self, name: str) -> training_job_pb2.TrainingJob:
        request = training_job_pb2.CancelTrainingJobRequest(name=name)
        return (await self.jobs.CancelTrainingJob(request)).training_job

    async def watch(self, name: str, after: int = 0) -> AsyncIterator[training_job_pb2.WatchTrainingJobResponse]:
        request = training_job_pb2.WatchTrainingJobRequest(name=name, after_sequence=after)
        with typed_errors():
            async for response in self.watches.WatchTrainingJob(request, timeout=150):
                yield response

    async def events(self, name: str) -> list[Event]:
        """Every event of a job, once it has ended."""
        return [response.event async for response in self.watch(name) if response.HasField("event")]

    @property
    def uploads(self) -> Path:
        """Where files lie while they are received."""
        return self.root / "uploads"

    async def take(self, messages: "AsyncIterator[adapter_transfer_pb2.ImportAdapterRequest]") -> str:
        """Import an adapter; its version's name."""
        return (await self.transfers.ImportAdapter(messages, timeout=60)).adapter_version

    async def read_file(self, version: str, path: str) -> bytes:
        request = adapter_transfer_pb2.ReadAdapterFileRequest(adapter_version=version, path=path)
        answers = [answer async for answer in self.transfers.ReadAdapterFile(request)]
        content = b"".join(answer.chunk for answer in answers)
        assert [answer.size_bytes for answer in answers] == [len(content)] + [0] * (len(answers) - 1)
        return content

    async def eventually(
        self, name: str, condition: Callable[[training_job_pb2.TrainingJob], bool]
    ) -> training_job_pb2.TrainingJob:
        """Ask for a job until it is so."""
        async with asyncio.timeout(60):
            while not condition(job := await self.get(name)):
                await asyncio.sleep(0.02)
        return job

    async def first_step(self, name: str, after: int = 0) -> Event:
        """Wait until training is under way."""
        async for response in self.watch(name, after):
            if response.event.HasField("metrics"):
                return response.event
        raise AssertionError(await self.events(name))

    @asynccontextmanager
    async def worker(self, **settings: str) -> AsyncIterator["WorkerProcess"]:
        worker = await WorkerProcess.start(self, **settings)
        try:
            yield worker
        finally:
            await worker.stop()


class WorkerProcess:
    """``python -m services.trainer.worker``."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    @classmethod
    async def start(cls, platform: Platform, **settings: str) -> "WorkerProcess":
        ready = platform.root / f"ready-{os.urandom(4).hex()}"
        log = ready.with_suffix(".log")
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OMP_NUM_THREADS": "2",
            "TENON_DATABASE_URL": platform.postgres.url(),
            "TENON_ARTIFACTS_URL": (platform.root / "artifacts").as_uri(),
            "TENON_REGISTRY_TARGET": platform.registry_address,
            "TENON_CACHE_DIR": str(platform.root / "cache"),
            "TENON_BASE_ROOTS": json.dumps([str(platform.root)]),
            "TENON_READY_FILE": str(ready),
            "TENON_JOB_LEASE_SECONDS": "1.5",
            "TENON_WORKER_POLL_SECONDS": "0.5",
            "TENON_WORKER_FLUSH_SECONDS": "0.2",
            "TENON_WORKER_STOP_SECONDS": "3",
            "TENON_WORKER_THREADS": "1",
            "TENON_SIGNING_KEY_FILE": str(platform.signing_key_file),
            **settings,
        }
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "services.trainer.worker", env=environment, stdout=output, stderr=output
            )
        worker = cls(process, log)
        async with asyncio.timeout(60):
            while not ready.exists():
                if process.returncode is not None:
                    raise AssertionError(log.read_text())
                await asyncio.sleep(0.05)
        return worker

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process.returncode is None:
            self.process.send_signal(number)
            async with asyncio.timeout(20):
                await self.process.wait()

    def recipe(self) -> int:
        """The process id of the recipe that it runs."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (child,) = children
        return int(child)

    async def another_recipe(self, before: int) -> int:
        """The process id of the recipe that it runs after one that has ended."""
        async with asyncio.timeout(20):
            while True:
                with suppress(ValueError):
                    if (found := self.recipe()) != before:
                        return found
                await asyncio.sleep(0.02)


@contextmanager
def typed_errors() -> Iterator[None]:
    try:
        yield
    except aio.AioRpcError as error:
        raise to_domain_error(error, "the trainer") from None


def jsonl(rows: Iterable[object]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


async def import_messages(
    directory: Path, adapter: str = "imported", *, parent: str = PARENT, base_model: str = "baseModels/tiny"
) -> AsyncGenerator[adapter_transfer_pb2.ImportAdapterRequest]:
    """Every file of a directory, as it lies there."""
    start = adapter_transfer_pb2.ImportStart(parent=parent, adapter_id=adapter, base_model=base_model)
    yield adapter_transfer_pb2.ImportAdapterRequest(start=start)
    for path in sorted(directory.iterdir()):
        yield adapter_transfer_pb2.ImportAdapterRequest(file=adapter_transfer_pb2.FileStart(path=path.name))
        content = path.read_bytes()
        for begin in range(0, len(content), PAYLOAD_LIMIT):
            yield adapter_transfer_pb2.ImportAdapterRequest(chunk=content[begin : begin + PAYLOAD_LIMIT])


async def upload_messages(
    content: bytes, spec: dataset_pb2.DatasetUploadSpec
) -> AsyncIterator[dataset_pb2.UploadDatasetRequest]:
    yield dataset_pb2.UploadDatasetRequest(spec=spec)
    for start in range(0, len(content), PAYLOAD_LIMIT):
        yield dataset_pb2.UploadDatasetRequest(chunk=content[start : start + PAYLOAD_LIMIT])


@asynccontextmanager
async def serving(settings: TrainerSettings) -> AsyncIterator[str]:
    """Run the trainer's server in this process; yield its address."""
    async with trainer(settings) as parts, running_server(settings, parts.services, parts.checks) as server:
        yield server.address


@asynccontextmanager
async def running_platform(postgres: PostgresServer, root: Path) -> AsyncIterator[Platform]:
    """Start registry and trainer; workers are the tests' to start."""
    artifacts = root / "artifacts"
    (root / "uploads").mkdir()
    async with (
        running_registry(registry_settings(postgres.url(), artifacts)) as registry,
        serving(trainer_settings(postgres.url(), root, registry.address)) as address,
        open_channel(registry.address) as to_registry,
        open_channel(address) as to_trainer,
        aio.insecure_channel(address) as plain,
    ):
        yield Platform(
            root=root,
            postgres=postgres,
            registry_address=registry.address,
            signing_key_file=secret_key_file(root),
            base_models=base_model_pb2_grpc.BaseModelServiceStub(to_registry),
            adapters=adapter_pb2_grpc.AdapterServiceStub(to_registry),
            datasets=dataset_pb2_grpc.DatasetServiceStub(to_trainer),
            jobs=training_job_pb2_grpc.TrainingJobServiceStub(to_trainer),
            transfers=adapter_transfer_pb2_grpc.AdapterTransferServiceStub(to_trainer),
            streams=dataset_pb2_grpc.DatasetServiceStub(plain),
            watches=training_job_pb2_grpc.TrainingJobServiceStub(plain),
        )


def trainer_settings(database_url: str, root: Path, registry: str) -> TrainerSettings:
    return TrainerSettings(
        listen="127.0.0.1:0",
        database_url=SecretStr(database_url),
        artifacts_url=(root / "artifacts").as_uri(),
        registry_target=registry,
        cache_dir=root / "cache",
        base_roots=(root,),
        signing_key_file=secret_key_file(root),
        trusted_keys=(trusted_key_file(root),),
        drain_seconds=1.0,
        job_lease_seconds=1.5,
        watch_reread_seconds=1.0,
        dataset_max_bytes=MIB,
        adapter_max_bytes=4 * MIB,
        upload_dir=root / "uploads",
        dataset_max_row_bytes=64 * 1024,
    )
