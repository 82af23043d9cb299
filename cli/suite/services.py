"""The processes of the suite: how each is started, what it is told, and how it shows that it is ready."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cli.suite.data_directory import DataDirectory
from cli.suite.keys import SuiteKeys
from cli.suite.leftovers import MARK_VARIABLE
from cli.suite.ports import LOOPBACK, Address
from cli.suite.probes import file_exists, grpc_serves, http_ready
from cli.suite.process import DRAIN_SECONDS, ProcessSpec

POSTGRES: Final = "postgres"
REGISTRY: Final = "registry"
TRAINER: Final = "trainer"
WORKER: Final = "trainer-worker"
INFERENCE: Final = "inference"
GATEWAY: Final = "gateway"

SIGNING_VARIABLE: Final = "TENON_SIGNING_KEY_FILE"
TRUST_VARIABLE: Final = "TENON_TRUSTED_KEYS"
TOKEN_VARIABLE: Final = "TENON_SERVICE_TOKEN"  # noqa: S105  # the variable's name
ADMIN_KEY_VARIABLE: Final = "TENON_ADMIN_KEY_FILE"
OWN_VARIABLES: Final = frozenset(
    {SIGNING_VARIABLE, TRUST_VARIABLE, TOKEN_VARIABLE, ADMIN_KEY_VARIABLE, "TENON_API_KEY"}
)
"""What the suite's processes get from here and from nowhere else."""

INFERENCE_COMPUTES: Final = MappingProxyType(
    {
        # Threads of a step wait for one another some hundred times; asleep they would be woken up late each time. So they
        # spin, for less than a millisecond, and then sleep: other programs of the machine get their turn.
        "GOMP_SPINCOUNT": "100000",
        # Large pages where the kernel offers them: reading all weights for every token is what a step does.
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    }
)
"""What makes a processor compute fast in the inference service; settings of one's own win."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where each server of the suite listens."""

    gateway: Address
    registry: Address
    trainer: Address
    inference: Address

    def as_endpoints(self) -> dict[str, str]:
        """Answer the content of DIR/run/endpoints.json."""
        return {
            "gateway": f"http://{self.gateway}",
            "registry": str(self.registry),
            "trainer": str(self.trainer),
            "inference": str(self.inference),
        }


def addresses(gateway: Address, ports: Sequence[int]) -> Addresses:
    """Put registry, trainer and inference on these ports of the loopback address."""
    return Addresses(gateway, *(Address(LOOPBACK, port) for port in ports))


def service_processes(directory: DataDirectory, at: Addresses, database_url: str, keys: SuiteKeys) -> list[ProcessSpec]:
    """Describe every process but Postgres, on which they depend by name."""
    environment = _environment(directory, at, database_url)
    environment[TOKEN_VARIABLE] = keys.service_token.get_secret_value()
    # Who signs gets the private key's path, and nobody else.
    signing = {SIGNING_VARIABLE: str(keys.signing)}
    trusting = {**environment, TRUST_VARIABLE: json.dumps([str(path) for path in keys.trusted])}
    stateful, registry = (POSTGRES,), (REGISTRY,)
    # A service comes up without the others and finds them when they are there, so that all can start at the same time.
    return [
        _grpc_server(
            REGISTRY,
            "services.registry",
            at.registry,
            {**trusting, ADMIN_KEY_VARIABLE: str(keys.admin)},
            depends_on=stateful,
        ),
        _grpc_server(TRAINER, "services.trainer", at.trainer, trusting | signing, depends_on=stateful, uses=registry),
        _worker(directory.run / "worker.ready", environment | signing, depends_on=stateful, uses=registry),
        _grpc_server(INFERENCE, "services.inference", at.inference, dict(INFERENCE_COMPUTES) | trusting, uses=registry),
        ProcessSpec(
            name=GATEWAY,
            argv=_python("gateway"),
            env={**environment, "TENON_LISTEN": str(at.gateway)},
            ready=partial(http_ready, at.gateway),
            uses=(REGISTRY, TRAINER, INFERENCE),
        ),
    ]


def _grpc_server(
    name: str,
    module: str,
    address: Address,
    environment: Mapping[str, str],
    *,
    depends_on: tuple[str, ...] = (),
    uses: tuple[str, ...] = (),
) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        argv=_python(module),
        env={**environment, "TENON_LISTEN": str(address)},
        ready=partial(grpc_serves, address),
        depends_on=depends_on,
        uses=uses,
    )


def _worker(
    ready_file: Path, environment: Mapping[str, str], *, depends_on: tuple[str, ...], uses: tuple[str, ...]
) -> ProcessSpec:
    async def forget_readiness() -> None:
        await asyncio.to_thread(ready_file.unlink, missing_ok=True)

    return ProcessSpec(
        name=WORKER,
        argv=_python("services.trainer.worker"),
        env={**environment, "TENON_READY_FILE": str(ready_file)},
        ready=partial(file_exists, ready_file),
        depends_on=depends_on,
        uses=uses,
        prepare=forget_readiness,
    )


def _python(module: str) -> tuple[str, ...]:
    # -P: the directory in which somebody types `tenon up` may have a folder called services of its own.
    return (sys.executable, "-P", "-m", module)


def _environment(directory: DataDirectory, at: Addresses, database_url: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}
    return {
        **inherited,
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        MARK_VARIABLE: directory.mark,
        "TENON_DATABASE_URL": database_url,
        "TENON_ARTIFACTS_URL": directory.artifacts.as_uri(),
        "TENON_CACHE_DIR": str(directory.cache),
        # One machine, one user: the servers may read what the user can.
        "TENON_BASE_ROOTS": '["/"]',
        "TENON_REGISTRY_TARGET": str(at.registry),
        "TENON_TRAINER_TARGET": str(at.trainer),
        "TENON_INFERENCE_TARGET": str(at.inference),
        "TENON_LOG_FORMAT": "json",
        # Several programs share the cores here. OpenMP's threads spin while they wait for one another, and where one of
        # them has to wait for another program a computation becomes a hundred times slower; sleeping costs little.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "TENON_UPLOAD_DIR": str(directory.uploads),
        # What takes as long to end as the supervisor waits would be killed at the end of it.
        "TENON_DRAIN_SECONDS": f"{DRAIN_SECONDS - 3:g}",
        "TENON_WORKER_STOP_SECONDS": f"{DRAIN_SECONDS - 3:g}",
    }
