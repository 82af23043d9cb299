"""One stack for the tests over REST that leave it as it is, with tiny bases and an adapter trained there."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest

from services.common.auth.keys import new_key
from tests.e2e.gateway.stack import ROWS, Stack, running_stack
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.tiny_bases import make_tiny_base
from tests.support.tool_templates import HERMES, LLAMA, MISTRAL

__all__ = ["postgres_server"]

TOOL_TEMPLATES = {"tools-hermes": HERMES, "tools-llama": LLAMA, "tools-mistral": MISTRAL}


@pytest.fixture(scope="session")
def gateway_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gateway")


@pytest.fixture(scope="session")
def stack(postgres_server: PostgresServer, gateway_root: Path) -> Iterator[Stack]:
    with running_stack(gateway_root, postgres_server.create_database(), new_key()) as stack:
        stack.add_base("tiny-qwen", make_tiny_base(gateway_root / "tiny-qwen", "qwen2", seed=1))
        stack.add_base("tiny-gpt", make_tiny_base(gateway_root / "tiny-gpt", "gpt2", seed=2, chat_template=None))
        for name, template in TOOL_TEMPLATES.items():
            directory = make_tiny_base(gateway_root / name, "qwen2", seed=4, context=2048, chat_template=template)
            stack.add_base(name, directory)
        yield stack


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx2.Client]:
    with stack.http() as client:
        yield client


@pytest.fixture
def client(stack: Stack) -> Iterator[openai.OpenAI]:
    with stack.openai() as client:
        yield client


@pytest.fixture(scope="session")
def file_id(stack: Stack) -> str:
    """A good file, uploaded."""
    with stack.openai() as client:
        return client.files.create(file=("rows.jsonl", ROWS), purpose="fine-tune").id


@pytest.fixture(scope="session")
def job_id(stack: Stack, file_id: str) -> str:
    """A job that made the adapter `parrot` on tiny-qwen."""
    with stack.openai() as client, stack.worker():
        job = client.fine_tuning.jobs.create(
            model="tiny-qwen",
            training_file=file_id,
            metadata={"team": "apes"},
            method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 4}}},
            # Eight rows in two steps teach nothing.
            extra_body={"adapter": "parrot", "force": True},
        )
        with stack.http() as http, http.stream("GET", f"/v1/training_jobs/{job.id}/watch", timeout=150) as watch:
            for _ in watch.iter_lines():
                pass
        ended = client.fine_tuning.jobs.retrieve(job.id)
        assert ended.status == "succeeded", ended
        return job.id
