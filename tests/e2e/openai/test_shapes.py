"""Every answer, held field by field against the types of OpenAI's own package: strictly, and with nothing else but ``tenon``."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pydantic
import pytest
from openai.types import Completion, FileDeleted, FileObject, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from gateway.mapping.events import checkpoint_object
from tenon.trainer.v1 import training_job_pb2
from tests.e2e.gateway.stack import ROWS
from tests.e2e.openai.test_tools import CALLING

OURS = {"tenon"}
"""What we may add, wherever it stands."""
HYPERPARAMETERS = {"hyperparameters", "method.supervised.hyperparameters"}
"""Where ours stand beside OpenAI's."""
HI = [{"role": "user", "content": "hi"}]


def hold(kind: type[pydantic.BaseModel], document: dict[str, Any]) -> None:
    """Fail unless a document is what the type says, with every field of it that is not optional, and no other."""
    unknown = sorted(extras(kind.model_validate(document, strict=True)))
    assert not unknown


def extras(value: Any, place: str = "") -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from extras(item, place)
    if not isinstance(value, pydantic.BaseModel) or place in HYPERPARAMETERS:
        return
    yield from (f"{place}.{name}".lstrip(".") for name in set(value.model_extra or {}) - OURS)
    for name in type(value).model_fields:
        yield from extras(getattr(value, name), f"{place}.{name}".lstrip("."))


def hold_list(kind: type[pydantic.BaseModel], document: dict[str, Any]) -> None:
    assert document["object"] == "list"
    assert set(document) <= {"object", "data", "has_more", "first_id", "last_id"}
    assert document["data"]
    for item in document["data"]:
        hold(kind, item)


def test_files(http: httpx2.Client) -> None:
    made = http.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("r", ROWS)}).json()
    hold(FileObject, made)
    hold(FileObject, http.get(f"/v1/files/{made['id']}").json())
    hold_list(FileObject, http.get("/v1/files").json())
    hold(FileDeleted, http.delete(f"/v1/files/{made['id']}").json())


def test_models(http: httpx2.Client, job_id: str) -> None:
    hold_list(Model, http.get("/v1/models").json())
    for model in ("tiny-qwen", "parrot", "parrot:latest"):
        hold(Model, http.get(f"/v1/models/{model}").json())


def test_jobs(http: httpx2.Client, job_id: str, file_id: str) -> None:
    hold(FineTuningJob, http.get(f"/v1/fine_tuning/jobs/{job_id}").json())
    hold_list(FineTuningJobEvent, http.get(f"/v1/fine_tuning/jobs/{job_id}/events").json())
    body = {"model": "tiny-gpt", "training_file": file_id, "force": True}
    queued = http.post("/v1/fine_tuning/jobs", json=body).json()
    hold(FineTuningJob, queued)
    paused = http.post(f"/v1/fine_tuning/jobs/{queued['id']}/pause").json()
    assert paused["status"] == "paused"  # which the client's methods speak of and its type does not know
    hold(FineTuningJob, {**paused, "status": "running"})
    hold(FineTuningJob, http.post(f"/v1/fine_tuning/jobs/{queued['id']}/resume").json())
    hold(FineTuningJob, http.post(f"/v1/fine_tuning/jobs/{queued['id']}/cancel").json())
    hold_list(FineTuningJob, http.get("/v1/fine_tuning/jobs").json())


CHATS: dict[str, dict[str, Any]] = {
    "plain": {"model": "tiny-qwen", "messages": HI, "max_tokens": 4},
    "adapter": {"model": "parrot", "messages": HI, "max_tokens": 4, "n": 2},
    "logprobs": {"model": "tiny-qwen", "messages": HI, "max_tokens": 4, "logprobs": True, "top_logprobs": 2},
    "calls": {**CALLING, "model": "tools-hermes", "tool_choice": "required"},
}


@pytest.mark.usefixtures("job_id")
@pytest.mark.parametrize("name", CHATS)
def test_chats(http: httpx2.Client, name: str) -> None:
    hold(ChatCompletion, http.post("/v1/chat/completions", json=CHATS[name]).json())
    body = {**CHATS[name], "stream": True, "stream_options": {"include_usage": True}}
    chunks = events(http.post("/v1/chat/completions", json=body))
    for chunk in chunks:
        hold(ChatCompletionChunk, chunk)
    assert chunks[-1]["usage"]


def test_completions(http: httpx2.Client) -> None:
    body = {"model": "tiny-gpt", "prompt": "Once", "max_tokens": 4, "logprobs": 2}
    hold(Completion, http.post("/v1/completions", json=body).json())
    pieces = events(http.post("/v1/completions", json={**body, "stream": True}))
    # The type says that every piece has a reason to be the last; OpenAI's own are null until there is one.
    for piece in pieces:
        hold(Completion, {**piece, "choices": [{**choice, "finish_reason": "stop"} for choice in piece["choices"]]})


def events(answer: httpx2.Response) -> list[dict[str, Any]]:
    *lines, last = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert last == "[DONE]"
    return [json.loads(line) for line in lines]


def test_a_checkpoint_as_the_gateway_writes_it() -> None:
    metrics = training_job_pb2.TrainingJobEvent.StepMetrics(step=3, loss=0.5, validation_loss=0.25)
    kept = training_job_pb2.TrainingJobCheckpoint(
        name="projects/p/trainingJobs/j/checkpoints/3", step=3, metrics=metrics
    )
    document = json.loads(checkpoint_object("ftjob-1", kept).model_dump_json())
    # A checkpoint is no model here, and its name is null.
    hold(FineTuningJobCheckpoint, {**document, "fine_tuned_model_checkpoint": "x"})
