"""Fine-tuning jobs: ``client.fine_tuning`` from creation to adapter."""

from typing import Any

import httpx2
import openai
import pytest

from tests.e2e.gateway.stack import Stack

FORCE = {"force": True}
"""The file's eight rows are hopeless, and nothing shall be learnt here."""


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


def test_a_queued_job_is_cancelled_at_once(client: openai.OpenAI, stack: Stack, file_id: str) -> None:
    job = client.fine_tuning.jobs.create(
        model="base/tiny-gpt", training_file=file_id, suffix="Never Run", extra_body=FORCE
    )
    assert (job.status, job.fine_tuned_model, job.finished_at) == ("queued", None, None)
    listed = client.fine_tuning.jobs.list(limit=1)
    assert (listed.data[0].id, listed.has_more) == (job.id, True)
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    assert client.fine_tuning.jobs.list_events(job.id).data[0].message == "The job is cancelled"


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


def test_jobs_are_listed_by_their_metadata(client: openai.OpenAI, http: httpx2.Client, file_id: str) -> None:
    def queue(metadata: dict[str, str] | None) -> str:
        job = client.fine_tuning.jobs.create(
            model="tiny-gpt", training_file=file_id, metadata=metadata, extra_body=FORCE
        )
        client.fine_tuning.jobs.cancel(job.id)
        return job.id

    first, second, third, without = (
        queue({"crew": "a"}),
        queue({"crew": "a", "kind": ""}),
        queue({"crew": "b"}),
        queue(None),
    )
    jobs = client.fine_tuning.jobs
    assert [job.id for job in jobs.list(metadata={"crew": "a"})] == [second, first]
    assert [job.id for job in jobs.list(metadata={"crew": "a"}, limit=1)] == [second, first]
    assert [job.id for job in jobs.list(metadata={"crew": "a"}, after=second)] == [first]
    assert [job.id for job in jobs.list(metadata={"crew": "a", "kind": ""})] == [second]
    assert not jobs.list(metadata={"crew": "nobody"}).data
    listed = [job.id for job in jobs.list(extra_query={"metadata": "null"})]
    assert without in listed
    assert not {first, second, third} & set(listed)
    for query, param in (("wings=2", "wings"), ("metadata=x", "metadata"), ("metadata=null&metadata[a]=b", "metadata")):
        answer = http.get(f"/v1/fine_tuning/jobs?{query}")
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_every_parameter_of_the_client_is_taken(client: openai.OpenAI, file_id: str) -> None:
    job = client.fine_tuning.jobs.create(
        model="tiny-gpt",
        training_file=file_id,
        validation_file=file_id,
        seed=7,
        suffix="whole",
        metadata={"a": "b"},
        integrations=None,
        method={
            "type": "supervised",
            "supervised": {
                "hyperparameters": {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
            },
        },
        extra_body=FORCE,
    )
    client.fine_tuning.jobs.cancel(job.id)
    assert (job.seed, job.validation_file, job.metadata) == (7, file_id, {"a": "b"})
    assert job.hyperparameters.n_epochs == "auto"
    with pytest.raises(openai.BadRequestError, match="integrations"):
        client.fine_tuning.jobs.create(
            model="tiny-gpt",
            training_file=file_id,
            integrations=[{"type": "wandb", "wandb": {"project": "x"}}],
            extra_body=FORCE,
        )
    with pytest.raises(openai.BadRequestError, match=r"method\.type"):
        client.fine_tuning.jobs.create(
            model="tiny-gpt", training_file=file_id, method={"type": "dpo"}, extra_body=FORCE
        )
