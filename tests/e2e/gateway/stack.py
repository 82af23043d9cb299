"""Every service of the suite as a process of its own, on ports that stay the same when one is started again."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx2
import openai
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common.identity import fingerprint_base
from tests.support.keys import secret_key_file, trusted_key_file

START_SECONDS = 60.0
SERVICE_TOKEN = "what the services of a test know one another by"
ROWS = b"".join(json.dumps({"instruction": f"Say {n}", "output": f"It is {n}."}).encode() + b"\n" for n in range(8))
MODULES = {
    "registry": "services.registry",
    "trainer": "services.trainer",
    "inference": "services.inference",
    "gateway": "gateway",
}


@dataclass
class Stack:
    """Registry, trainer, inference and gateway; a worker only where a test starts one. With a key of its own, or without keys."""

    root: Path
    database_url: str
    key: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in MODULES})
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['gateway']}"

    def http(self) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return httpx2.Client(base_url=self.url, timeout=60, trust_env=False, headers=headers)

    def openai(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", **{"api_key": self.key or "none", "max_retries": 0, **options})

    def start(self, name: str, **settings: str) -> "subprocess.Popen[bytes]":
        """Start a service without waiting for it."""
        listen = {"TENON_LISTEN": f"127.0.0.1:{self.ports[name]}"} if name in self.ports else {}
        environment = {**self._environment(), **listen, **settings}
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", MODULES.get(name, name)], env=environment, stdout=log, stderr=log
            )
        self.processes[name] = process
        return process

    def stop(self, name: str) -> int:
        """Ask a service to stop; gives its exit status."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout=30)

    def wait_until_serving(self, name: str) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{self.ports[name]}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)

            def serving() -> bool:
                assert self.processes[name].poll() is None, self.log(name).read_text()[-3000:]
                try:
                    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1, wait_for_ready=True)
                except grpc.RpcError:
                    return False
                return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

            wait_for(serving, f"{name} serving: {self.log(name)}")

    def wait_until_ready(self) -> None:
        with self.http() as http:

            def ready() -> bool:
                assert self.processes["gateway"].poll() is None, self.log("gateway").read_text()[-3000:]
                try:
                    return http.get("/readyz").status_code == 200
                except httpx2.TransportError:
                    return False

            wait_for(ready, "readiness")

    @contextmanager
    def worker(self) -> Iterator[None]:
        """A worker, until the block ends."""
        self.start("services.trainer.worker", TENON_READY_FILE=str(self.root / "worker.ready"))
        try:
            yield
        finally:
            self.stop("services.trainer.worker")

    def add_base(self, base_id: str, directory: Path) -> dict[str, Any]:
        document = json.loads(fingerprint_base(directory).to_document())
        body = {"id": base_id, "sources": [directory.as_uri()], "fingerprint_document": document}
        with self.http() as http:
            answer = http.post("/v1/base_models", json=body)
        assert answer.status_code == 200, answer.text
        registered: dict[str, Any] = answer.json()
        return registered

    def log(self, name: str) -> Path:
        return self.root / f"{name}.log"

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("TENON_")}
        targets = {f"TENON_{name.upper()}_TARGET": f"127.0.0.1:{port}" for name, port in self.ports.items()}
        return {
            **kept,
            **targets,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OMP_NUM_THREADS": "2",
            "TENON_DATABASE_URL": self.database_url,
            "TENON_ARTIFACTS_URL": (self.root / "artifacts").as_uri(),
            "TENON_CACHE_DIR": str(self.root / "cache"),
            "TENON_BASE_ROOTS": json.dumps([str(self.root)]),
            "TENON_DRAIN_SECONDS": "2",
            "TENON_SIGNING_KEY_FILE": str(secret_key_file(self.root)),
            "TENON_TRUSTED_KEYS": json.dumps([str(trusted_key_file(self.root))]),
            "TENON_WORKER_FLUSH_SECONDS": "0.1",
            "TENON_WATCH_REREAD_SECONDS": "0.5",
            **self._access(),
            **self.settings,
        }

    def _access(self) -> dict[str, str]:
        if self.key is None:
            return {}
        file = self.root / "admin.key"
        file.write_text(self.key)
        return {"TENON_SERVICE_TOKEN": SERVICE_TOKEN, "TENON_ADMIN_KEY_FILE": str(file)}


@contextmanager
def running_stack(root: Path, database_url: str, key: str | None = None, **settings: str) -> Iterator[Stack]:
    """Run a stack until the block ends."""
    stack = Stack(root, database_url, key, settings)
    try:
        for name in MODULES:
            stack.start(name)
        stack.wait_until_ready()
        yield stack
    finally:
        for process in stack.processes.values():
            process.terminate()
        for process in stack.processes.values():
            process.wait(timeout=30)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {seconds:g} s"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
