"""`python -m services.inference`: starts, fetches a base from a hub, answers, stops cleanly, tells faults in a line."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from services.common.rpc.channel import open_channel
from services.common.rpc.server import RunningServer
from tenon.inference.v1 import inference_pb2 as pb
from tenon.inference.v1.inference_pb2_grpc import InferenceServiceStub
from tests.e2e.inference.service import Suite, prompt
from tests.support.hub import running_hub
from tests.support.keys import trusted_key_file
from tests.support.tiny_bases import make_tiny_base

COMMAND = (sys.executable, "-m", "services.inference")


@asynccontextmanager
async def started(environment: Mapping[str, str]) -> AsyncIterator[tuple[Process, str]]:
    """Start the service; yield it and its address. Ends it if the block has not."""
    process = await asyncio.create_subprocess_exec(*COMMAND, env=environment, stderr=PIPE)
    try:
        yield process, await asyncio.wait_for(address_of(process), 90)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def address_of(process: Process) -> str:
    assert process.stderr is not None
    async for line in process.stderr:
        event = json.loads(line)
        if event["event"] == "listening":
            return str(event["address"])
    raise AssertionError("the service ended before it listened")


def environment(**variables: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "2", **variables}


async def test_it_serves_a_base_from_a_hub_and_stops_at_sigterm(
    suite: Suite, registry: RunningServer, root: Path, tmp_path: Path
) -> None:
    directory = make_tiny_base(tmp_path / "made", seed=71)
    with running_hub() as hub:
        commit = hub.push_directory("tenon-tests/tiny", directory)
        source = f"hf://tenon-tests/tiny@{commit}"
        name, fingerprint = await suite.add_base(directory, source)
        settings = environment(
            TENON_LISTEN="127.0.0.1:0",
            TENON_REGISTRY_TARGET=registry.address,
            TENON_ARTIFACTS_URL=(root / "artifacts").as_uri(),
            TENON_CACHE_DIR=str(tmp_path / "cache"),
            TENON_TRUSTED_KEYS=json.dumps([str(trusted_key_file(tmp_path))]),
            TENON_LOG_FORMAT="json",
            HF_ENDPOINT=hub.endpoint,
        )
        async with started(settings) as (process, address), open_channel(address) as channel:
            stub = InferenceServiceStub(channel)
            answer = await stub.Generate(prompt(name), timeout=60)
            assert answer.identity == pb.ModelIdentity(base_model=name, base_fingerprint_id=fingerprint.id)
            assert hub.bytes_sent["model.safetensors"] == (directory / "model.safetensors").stat().st_size
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.communicate(), 20)
            assert process.returncode == 0


async def test_missing_settings_are_told_in_a_line() -> None:
    process = await asyncio.create_subprocess_exec(*COMMAND, env=environment(), stderr=PIPE)
    _, text = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert text.decode().startswith("tenon-inference: ")
    for variable in ("TENON_REGISTRY_TARGET", "TENON_ARTIFACTS_URL", "TENON_CACHE_DIR", "TENON_TRUSTED_KEYS"):
        assert variable in text.decode()
