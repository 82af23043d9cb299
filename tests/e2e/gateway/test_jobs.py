"""Fine-tuning jobs from creation to adapter."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from tests.e2e.gateway.stack import Stack, free_port

FORCE = {"force": True}
"""The file's eight rows are hopeless, and nothing shall be learnt here."""


def updates(stack: Stack, job_id: str, after: int = 0) -> Iterator[dict[str, Any]]:
    with stack.http() as http, http.stream("GET", f"/v1/training_jobs/{job_id}/watch?after={after}") as watch:
        assert watch.headers["content-type"].startswith("text/event-stream")
        for line in watch.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def test_a_job_makes_an_adapter_and_says_so(client: openai.OpenAI, http: httpx2.Client, job_id: str) -> None:
    job = client.fine_tuning.jobs.retrieve(job_id)
    assert job.status == "succeeded"
    assert (job.model, job.metadata, job.error) == ("tiny-qwen", {"team": "apes"}, None)
    assert (job.hyperparameters.n_epochs, job.hyperparameters.batch_size) == (1, 4)
    assert job.finished_at is not None
    assert job.finished_at >= job.created_at
    versions = http.get("/v1/adapters/parrot/versions").json()["data"]
    assert job.fine_tuned_model == f"parrot@{versions[0]['id']}"
    assert (versions[0]["state"], versions[0]["base_model"], versions[0]["training_job"]) == (
        "ready",
        "tiny-qwen",
        job_id,
    )
    assert client.models.retrieve(job.fine_tuned_model).id == job.fine_tuned_model
    tenon = http.get(f"/v1/fine_tuning/jobs/{job_id}").json()["tenon"]
    assert (tenon["adapter"], tenon["attempt"], tenon["state"]) == ("parrot", 1, "succeeded")
    assert tenon["progress"]["step"] == tenon["progress"]["total_steps"] > 0


def test_events_are_listed_newest_first_and_paged_by_id(client: openai.OpenAI, job_id: str) -> None:
    events = list(client.fine_tuning.jobs.list_events(job_id, limit=3))
    assert events[0].message == "The job is succeeded"
    assert events[-1].message == "The job is queued"
    sequences = [int(event.id.rpartition("-")[2]) for event in events]
    assert sequences == list(range(len(events), 0, -1))
    assert {event.type for event in events} == {"message", "metrics"}


def test_a_short_job_has_no_checkpoints(client: openai.OpenAI, http: httpx2.Client, job_id: str) -> None:
    assert not client.fine_tuning.jobs.checkpoints.list(job_id).data
    assert http.get(f"/v1/training_jobs/{job_id}/checkpoints").json()["data"] == []


def test_a_job_is_paused_and_resumed(client: openai.OpenAI, http: httpx2.Client, file_id: str) -> None:
    job = http.post(
        "/v1/fine_tuning/jobs", json={"model": "tiny-gpt", "training_file": file_id, "priority": 7, **FORCE}
    ).json()
    assert job["tenon"]["priority"] == 7
    # The client's types do not know this word, though its documentation has it.
    assert str(client.fine_tuning.jobs.pause(job["id"]).status) == "paused"
    assert client.fine_tuning.jobs.resume(job["id"]).status == "queued"
    for action, state in (("pause", "paused"), ("resume", "queued")):
        answer = http.post(f"/v1/training_jobs/{job['id']}/{action}").json()
        assert answer["tenon"]["state"] == state
    assert client.fine_tuning.jobs.cancel(job["id"]).status == "cancelled"
    refused = http.post(f"/v1/fine_tuning/jobs/{job['id']}/pause")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "training_job_wrong_state")


def test_a_watch_tells_the_job_then_its_events_and_ends(stack: Stack, job_id: str) -> None:
    first, *events = updates(stack, job_id)
    assert first["job"]["id"] == job_id
    assert [update["event"]["sequence"] for update in events] == list(range(1, len(events) + 1))
    assert events[0]["event"]["data"] == {"state": "queued"}
    assert events[-1]["event"]["data"] == {"state": "succeeded"}
    metrics = [update["event"]["data"] for update in events if update["event"]["type"] == "metrics"]
    assert [figures["step"] for figures in metrics] == list(range(1, metrics[-1]["total_steps"] + 1))
    _, *later = updates(stack, job_id, after=2)
    assert later == events[2:]


def test_a_queued_job_is_cancelled_at_once(client: openai.OpenAI, stack: Stack, file_id: str) -> None:
    job = client.fine_tuning.jobs.create(
        model="base/tiny-gpt", training_file=file_id, suffix="Never Run", extra_body=FORCE
    )
    assert (job.status, job.fine_tuned_model, job.finished_at) == ("queued", None, None)
    listed = client.fine_tuning.jobs.list(limit=1)
    assert (listed.data[0].id, listed.has_more) == (job.id, True)
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    assert [update["event"]["data"]["state"] for update in updates(stack, job.id) if "event" in update][
        -1
    ] == "cancelled"


def test_the_same_job_sent_again_is_the_same_job(http: httpx2.Client, file_id: str) -> None:
    def send() -> Any:
        headers = {"Idempotency-Key": "3f1d2c4b-9a8e-4f57-8b6c-5d4e3f2a1b0c"}
        body = {"model": "tiny-gpt", "training_file": file_id, **FORCE}
        return http.post("/v1/fine_tuning/jobs", json=body, headers=headers).json()["id"]

    job_id = send()
    assert send() == job_id
    http.post(f"/v1/fine_tuning/jobs/{job_id}/cancel")


@pytest.mark.parametrize(
    ("change", "status", "code", "param"),
    [
        ({"model": "nobody"}, 404, "base_model_not_found", None),
        ({"training_file": "file-nobody"}, 404, "dataset_not_found", None),
        ({"validation_file": "file-nobody"}, 404, "dataset_not_found", None),
        ({"model": "Not A Name"}, 400, "invalid_argument", "model"),
        ({"adapter": "../up"}, 400, "invalid_argument", "adapter"),
        ({"hyperparameters": {"n_epochs": 0}}, 400, "invalid_argument", "hyperparameters.n_epochs"),
        ({"hyperparameters": {"rank_pattern": {"(a+)+": 8}}}, 400, "invalid_argument", "hyperparameters.rank_pattern"),
        (
            {"hyperparameters": {"modules_to_save": ["lm head"]}},
            400,
            "invalid_argument",
            "hyperparameters.modules_to_save",
        ),
        ({"hyperparameters": {"learning_rate": 7.0}}, 400, "invalid_argument", "hyperparameters.learning_rate"),
        ({"metadata": {f"k{n}": "v" for n in range(17)}}, 400, "invalid_argument", "metadata"),
        ({"wings": 2}, 400, "invalid_argument", "wings"),
        ({"seed": "x"}, 400, "invalid_argument", "seed"),
        ({"priority": 1001}, 400, "invalid_argument", "priority"),
    ],
)
def test_a_job_that_cannot_be_is_refused(
    http: httpx2.Client, file_id: str, change: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    before = http.get("/v1/fine_tuning/jobs").json()
    answer = http.post("/v1/fine_tuning/jobs", json={"model": "tiny-qwen", "training_file": file_id, **FORCE, **change})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), error
    assert error["param"] == param or (error["param"] or "").startswith(f"{param}")
    assert http.get("/v1/fine_tuning/jobs").json() == before


@pytest.mark.parametrize("path", ["", "/events", "/checkpoints", "/cancel", "/pause", "/resume"])
def test_an_unknown_job_is_not_found(http: httpx2.Client, path: str) -> None:
    method = "POST" if path in {"/cancel", "/pause", "/resume"} else "GET"
    answer = http.request(method, f"/v1/fine_tuning/jobs/ftjob-nobody{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "training_job_not_found")


def test_a_stop_ends_watches_at_once_and_says_why(stack: Stack, http: httpx2.Client, file_id: str) -> None:
    job_id = http.post("/v1/fine_tuning/jobs", json={"model": "tiny-gpt", "training_file": file_id, **FORCE}).json()[
        "id"
    ]
    second = Stack(stack.root / "second", stack.database_url, ports={**stack.ports, "gateway": free_port()})
    second.root.mkdir()
    second.start("gateway", TENON_DRAIN_SECONDS="60")
    second.wait_until_ready()
    watch = updates(second, job_id)
    assert next(watch)["job"]["status"] == "queued"
    stopped = time.monotonic()
    assert second.stop("gateway") == 0
    assert time.monotonic() - stopped < 10
    assert list(watch)[-1]["error"]["code"] == "service_unavailable"
    http.post(f"/v1/fine_tuning/jobs/{job_id}/cancel")


def test_an_unknown_job_cannot_be_watched(http: httpx2.Client) -> None:
    answer = http.get("/v1/training_jobs/ftjob-nobody/watch")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "training_job_not_found")
    assert http.get("/v1/training_jobs/ftjob-nobody/watch?after=-1").status_code == 400


def test_a_hopeless_job_is_refused_in_openai_s_shape(client: openai.OpenAI, http: httpx2.Client, file_id: str) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.fine_tuning.jobs.create(model="tiny-gpt", training_file=file_id, hyperparameters={"batch_size": 8})
    error = raised.value
    assert (error.code, error.type, error.param) == (
        "plan_hopeless",
        "invalid_request_error",
        "training_file",
    )
    assert "only 8 rows" in error.message
    assert "set force" in error.message
    # A client that can send nothing of its own says it in metadata.
    job = client.fine_tuning.jobs.create(
        model="tiny-gpt", training_file=file_id, hyperparameters={"batch_size": 8}, metadata={"tenon.force": "true"}
    )
    found = http.post(f"/v1/fine_tuning/jobs/{job.id}/cancel").json()
    assert (found["tenon"]["force"], found["tenon"]["plan"]) == (True, None)


def test_a_plan_is_answered_and_nothing_queued(http: httpx2.Client, file_id: str) -> None:
    before = http.get("/v1/fine_tuning/jobs").json()
    body = {"model": "tiny-gpt", "training_file": file_id, "hyperparameters": {"n_epochs": 3, "batch_size": 8}}
    answer = http.post("/v1/training_jobs/plan", json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    plan = answer.json()
    assert (plan["hopeless"], plan["steps"], plan["hyperparameters"]["n_epochs"]) == (True, 3, 3)
    assert plan["findings"][0]["severity"] == "hopeless"
    assert plan["memory_bytes"] == sum(plan["memory_parts"].values())
    assert http.get("/v1/fine_tuning/jobs").json() == before
    wrong = http.post("/v1/training_jobs/plan", json={**body, "hyperparameters": {"n_epochs": 0}})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "hyperparameters.n_epochs")


def test_a_report_and_the_plan_of_a_job_that_has_ended(http: httpx2.Client, job_id: str) -> None:
    report = http.get(f"/v1/training_jobs/{job_id}/report").json()
    assert (report["job"], report["verdict"], report["forced"]) == (job_id, "not_learned", True)
    assert report["held_out"] is None
    assert report["curve"]["best_validation_loss"] is None
    assert report["trained"]["rows"] == 8
    assert set(report["answers"][0]) == {"prompt", "expected", "base", "adapter"}
    plan = http.get(f"/v1/fine_tuning/jobs/{job_id}").json()["tenon"]["plan"]
    assert (plan["steps"], plan["hopeless"]) == (2, True)
    events = http.get(f"/v1/fine_tuning/jobs/{job_id}/events", params={"limit": 100}).json()["data"]
    assert any(event["level"] == "error" and "optimizer steps" in event["message"] for event in events)
    answer = http.get("/v1/training_jobs/ftjob-nobody/report")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "training_job_not_found")


def test_an_alias_is_gated_over_rest(http: httpx2.Client, job_id: str) -> None:
    version = http.get(f"/v1/fine_tuning/jobs/{job_id}").json()["fine_tuned_model"].partition("@")[2]
    url = "/v1/adapters/parrot/aliases/production"
    refused = http.put(url, json={"version": version, "gated": True})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "verdict_not_admitted")
    alias = http.put(url, json={"version": version, "gated": True, "reason": "For the test."}).json()
    assert (alias["gated"], alias["reason"], alias["version"]) == (True, "For the test.", version)
    assert http.put(url, json={"gated": False}).json()["error"]["code"] == "verdict_not_admitted"
    assert http.put(url, json={"gated": False, "reason": "Enough."}).json()["gated"] is False
    assert http.put(url, json={}).status_code == 400
