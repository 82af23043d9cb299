"""Provenance, signers, aliases and revocation as REST and the command line show them: a registry and a gateway, no torch."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from services.common.artifacts.filesystem import FileSystemStore
from services.common.manifest import Provenance
from services.common.rpc.channel import open_channel
from tenon.registry.v1 import adapter_pb2 as pb
from tests.e2e.registry.client import Registry
from tests.support.keys import TEST_KEY
from tests.support.registry import registry_settings, running_registry
from tests.support.suite import tenon

NOWHERE = "127.0.0.1:1"


@dataclass
class Rest:
    """A gateway before a registry.

    Attributes:
        registry: the registry itself, with the project that the gateway shows.
        url: of the gateway.
        http: a client of it.
    """

    registry: Registry
    url: str
    http: httpx2.AsyncClient

    async def tenon(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "TENON_URL": self.url, "COLUMNS": "200"}
        return await asyncio.to_thread(tenon, *arguments, env=environment)

    async def add(self, adapter: str, **facts: Any) -> str:
        """Add a READY version of an adapter, with `latest` at it; gives its digest."""
        self.registry.adapter = f"projects/default/adapters/{adapter}"
        create = pb.CreateAdapterRequest(parent="projects/default", adapter_id=adapter)
        if not [row for row in (await self.http.get("/v1/adapters")).json()["data"] if row["id"] == adapter]:
            await self.registry.adapters.CreateAdapter(create)
        # Of its own: what is revoked is so under every adapter's name.
        job = f"projects/default/trainingJobs/{adapter}"
        version = await self.registry.add_version(self.registry.manifest(job=job, **facts))
        await self.registry.finalize(version.name)
        await self.registry.move("latest", version.name)
        return version.name.rpartition("/")[2]


@pytest.fixture(scope="module")
async def rest(
    postgres_url: str, artifacts_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Rest]:
    """A registry in this process, and a gateway in one of its own."""
    async with running_registry(registry_settings(postgres_url, artifacts_directory)) as server:
        settings = {"REGISTRY_TARGET": server.address, "TRAINER_TARGET": NOWHERE, "INFERENCE_TARGET": NOWHERE}
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TENON_LOG_FORMAT": "json"}
        environment.update({f"TENON_{name}": value for name, value in settings.items()})
        log = tmp_path_factory.mktemp("gateway") / "log"
        with log.open("wb") as output:
            command = (sys.executable, "-m", "gateway")
            gateway = await asyncio.create_subprocess_exec(*command, env=environment, stderr=output)
        try:
            url = await asyncio.wait_for(_url(log), 30)
            async with open_channel(server.address) as channel, httpx2.AsyncClient(base_url=url) as http:
                registry = Registry(channel)
                FileSystemStore.open(artifacts_directory).put("default", [b"{}"], max_bytes=100)
                await registry.add_base()
                yield Rest(registry, url, http)
        finally:
            gateway.terminate()
            await asyncio.wait_for(gateway.wait(), 30)


async def _url(log: Path) -> str:
    while True:
        for line in log.read_text().splitlines():
            if '"listening"' in line:
                return str(json.loads(line)["url"])
        await asyncio.sleep(0.05)


async def test_provenance_and_signers_are_shown_wherever_an_adapter_is(rest: Rest) -> None:
    digest = await rest.add("elsewhere", provenance=Provenance.DECLARED)
    adapter = (await rest.http.get("/v1/adapters/elsewhere")).json()
    assert (adapter["latest_version"], adapter["state"], adapter["provenance"]) == (digest, "ready", "declared")
    (version,) = (await rest.http.get("/v1/adapters/elsewhere/versions")).json()["data"]
    assert (version["id"], version["state"], version["provenance"]) == (digest, "ready", "declared")
    assert version["signed_by"] == [TEST_KEY.public.key_id]
    assert (version["revoke_time"], version["revoke_reason"]) == (None, None)
    models = {model["id"]: model for model in (await rest.http.get("/v1/models")).json()["data"]}
    assert models["elsewhere"]["tenon"]["provenance"] == "declared"
    assert models["elsewhere"]["tenon"]["state"] == "ready"
    assert models[rest.registry.base_model_id]["tenon"]["provenance"] is None
    assert set(models["elsewhere"]) == {"id", "object", "created", "owned_by", "tenon"}
    for model in ("elsewhere:latest", f"elsewhere@{digest}"):
        found = (await rest.http.get(f"/v1/models/{model}")).json()
        assert (found["tenon"]["provenance"], found["tenon"]["version"]) == ("declared", digest)


async def test_revocation_over_rest(rest: Rest) -> None:
    digest = await rest.add("withdrawn")
    path = f"/v1/adapters/withdrawn/versions/{digest}/revoke"
    revoked = (await rest.http.post(path, json={"reason": "it swears"})).json()
    assert (revoked["state"], revoked["revoke_reason"]) == ("revoked", "it swears")
    assert revoked["revoke_time"]
    assert (await rest.http.post(path, json={"reason": "again"})).json() == revoked
    adapter = (await rest.http.get("/v1/adapters/withdrawn")).json()
    assert (adapter["latest_version"], adapter["state"]) == (digest, "revoked")
    models = {model["id"]: model["tenon"] for model in (await rest.http.get("/v1/models")).json()["data"]}
    assert models["withdrawn"]["state"] == "revoked"
    for answer in (
        await rest.http.get("/v1/models/withdrawn:latest"),
        await rest.http.put("/v1/adapters/withdrawn/aliases/production", json={"version": digest}),
    ):
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "adapter_version_revoked"
        assert "it swears" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("version", "body", "status"),
    [
        ("0" * 64, {"reason": "x"}, 404),
        ("1234", {"reason": "x"}, 400),
        ("0" * 64, {}, 400),
        ("0" * 64, {"reason": "x" * 1001}, 400),
        ("0" * 64, {"reason": "x", "more": 1}, 400),
    ],
    ids=["unknown", "no-digest", "no-reason", "long", "extra"],
)
async def test_wrong_revocations_are_refused(rest: Rest, version: str, body: dict[str, Any], status: int) -> None:
    await rest.add("kept")
    answer = await rest.http.post(f"/v1/adapters/kept/versions/{version}/revoke", json=body)
    assert answer.status_code == status
    assert (await rest.http.get("/v1/adapters/kept")).json()["state"] == "ready"


async def test_a_revocation_and_its_recovery_by_the_command_line(rest: Rest) -> None:
    first = await rest.add("monkey", seed=1)
    second = await rest.add("monkey", seed=2)
    ran = await rest.tenon("adapter", "revoke", "monkey", "--version", second[:8], "--reason", "it swears")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        f"Version {second[:12]} of monkey is revoked: it swears",
        "monkey:latest answers no more. Point it at another version: tenon adapter alias monkey latest VERSION",
    ]
    shown = await rest.tenon("adapter", "show", "monkey")
    assert shown.stdout.startswith(f"monkey: does not answer: its latest version {second[:12]} is revoked\n")
    listed = await rest.tenon("adapter", "list")
    assert f"{second[:12]} (revoked)" in listed.stdout
    assert "PROVENANCE" in listed.stdout
    assert "witnessed" in listed.stdout
    ran = await rest.tenon("adapter", "alias", "monkey", "latest", first[:10])
    assert ran.stdout == f"monkey:latest answers with version {first[:12]} now.\n", ran.stderr
    ran = await rest.tenon("adapter", "revoke", "monkey", "--version", second, "--reason", "again")
    told, answers = ran.stdout.splitlines()
    assert re.fullmatch(rf"Version {second[:12]} of monkey was revoked before, on [-\d]+ [:\d]+ UTC: it swears", told)
    assert answers == f"monkey answers with version {first[:12]}, as before."
    ran = await rest.tenon("adapter", "alias", "monkey", "production", second)
    assert ran.returncode == 3
    assert "it swears" in ran.stderr

    shown = await rest.tenon("adapter", "show", "monkey")
    answers, heading, *rows, note = [line for line in shown.stdout.splitlines() if line.strip()]
    assert answers.startswith(f"monkey: answers with {first[:12]} (witnessed, on ")
    assert heading.split() == ["VERSION", "STATE", "PROVENANCE", "BASE", "SIGNED", "BY", "CREATED", "ALIASES"]
    assert [row.split()[:2] for row in rows] == [[second[:12], "revoked"], [first[:12], "ready"]]
    assert TEST_KEY.public.key_id[:12] in rows[0]
    assert rows[1].rstrip().endswith("latest")
    assert note.startswith(f"{second[:12]} was revoked on ")
    found = json.loads((await rest.tenon("adapter", "show", "monkey", "--json")).stdout)
    assert found["id"] == "monkey"
    assert [version["id"] for version in found["versions"]] == [second, first]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["show", "nobody"], 4),
        (["show", "../models"], 2),
        (["alias", "one", "A/B", "12345678"], 2),
        (["alias", "one", "latest", "1234567"], 2),
        (["alias", "one", "latest", "00000000"], 4),
        (["revoke", "one", "--version", "not-a-digest", "--reason", "x"], 2),
        (["revoke", "one", "--version", "0" * 64, "--reason", "x"], 4),
        (["revoke", "one", "--version", "0" * 64, "--reason", ""], 2),
        (["revoke", "one", "--version", "0" * 64], 2),
    ],
    ids=["unknown", "path", "alias", "short", "no-version", "no-digest", "not-there", "no-reason", "option"],
)
async def test_what_cannot_be_is_one_sentence(rest: Rest, arguments: list[str], status: int) -> None:
    await rest.add("one")
    ran = await rest.tenon("adapter", *arguments)
    assert ran.returncode == status, ran.stderr
    assert "Traceback" not in ran.stderr
    assert "Error: " in ran.stderr
    assert ran.stdout == ""
