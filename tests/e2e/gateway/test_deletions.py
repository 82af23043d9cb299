"""Deleting what was made: what still depends on it is named, and what is gone is gone."""

from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from tests.e2e.gateway.stack import ROWS, Stack

pytestmark = pytest.mark.usefixtures("job_id")

FILES = ("adapter_config.json", "adapter_model.safetensors", "tenon.manifest.json", "tenon.manifest.dsse.json")


def copied(http: httpx2.Client, name: str) -> str:
    """An adapter of another name with parrot's version; gives the version."""
    version = http.get("/v1/adapters/parrot").json()["latest_version"]
    source = f"/v1/adapters/parrot/versions/{version}/files"
    form = [("file", (file, http.get(f"{source}/{file}").content)) for file in FILES]
    answer = http.post(f"/v1/adapters/{name}/versions", data={"base_model": "tiny-qwen"}, files=form)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def refused(answer: httpx2.Response) -> Any:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "resource_in_use"), answer.text
    return error


def gone(answer: httpx2.Response, **expected: str) -> None:
    assert (answer.status_code, answer.json()) == (200, {**expected, "deleted": True}), answer.text


def test_a_version_goes_once_no_alias_points_at_it(http: httpx2.Client) -> None:
    version = copied(http, "doomed")
    path = f"/v1/adapters/doomed/versions/{version}"
    assert "projects/default/adapters/doomed/aliases/latest" in refused(http.delete(path))["message"]
    gone(http.delete("/v1/adapters/doomed/aliases/latest"), id="latest", object="alias")
    gone(http.delete(path), id=version, object="adapter_version")
    assert http.delete(path).status_code == 404
    gone(http.delete("/v1/adapters/doomed"), id="doomed", object="adapter")
    assert http.get("/v1/adapters/doomed").status_code == 404


def test_an_adapter_with_versions_goes_by_force(http: httpx2.Client) -> None:
    version = copied(http, "forced")
    error = refused(http.delete("/v1/adapters/forced"))
    assert version in error["message"]
    stale = http.delete("/v1/adapters/forced", params={"force": "true", "etag": "stale"})
    assert (stale.status_code, stale.json()["error"]["code"]) == (409, "etag_mismatch")
    gone(http.delete("/v1/adapters/forced", params={"force": "true"}), id="forced", object="adapter")


def test_openai_s_client_deletes_models(http: httpx2.Client, client: openai.OpenAI) -> None:
    version = copied(http, "short-lived")
    with pytest.raises(openai.BadRequestError, match="latest"):
        client.models.delete(f"short-lived@{version}")
    deleted = client.models.delete("short-lived:latest")
    assert (deleted.id, deleted.object, deleted.deleted) == ("short-lived:latest", "model", True)
    assert client.models.delete(f"short-lived@{version}").deleted
    assert client.models.delete("short-lived").deleted
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="short-lived", messages=[{"role": "user", "content": "hi"}])
    with pytest.raises(openai.BadRequestError, match=r"adapter versions? \("):
        client.models.delete("base/tiny-qwen")


def test_a_deletion_sent_again_gets_its_first_answer(http: httpx2.Client) -> None:
    copied(http, "sent-twice")
    key = {"Idempotency-Key": "7e9c3c1e-0a3d-4a52-9a0e-3f6f0d5f2b11"}
    for path in ("/v1/models/sent-twice", "/v1/models/sent-twice"):
        gone(http.delete(path, headers=key), id="sent-twice", object="model")
    for headers in ({}, {"Idempotency-Key": "7e9c3c1e-0a3d-4a52-9a0e-3f6f0d5f2b12"}):
        missing = http.delete("/v1/models/sent-twice", headers=headers)
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


@pytest.fixture
def waiting_job(client: openai.OpenAI) -> Iterator[Any]:
    file = client.files.create(file=("rows.jsonl", ROWS), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model="lonely", training_file=file.id, extra_body={"adapter": "unborn", "force": True}
    )
    yield job
    client.files.delete(file.id)


@pytest.fixture(scope="module")
def lonely_base(stack: Stack) -> None:
    stack.add_base("lonely", stack.root / "tiny-gpt")


@pytest.mark.usefixtures("lonely_base")
def test_a_base_goes_once_no_job_needs_it(http: httpx2.Client, waiting_job: Any) -> None:
    assert waiting_job.id in refused(http.delete("/v1/base_models/lonely"))["message"]
    running = http.delete(f"/v1/training_jobs/{waiting_job.id}")
    assert (running.status_code, running.json()["error"]["code"]) == (400, "training_job_wrong_state")
    http.post(f"/v1/fine_tuning/jobs/{waiting_job.id}/cancel")
    gone(http.delete("/v1/base_models/lonely"), id="lonely", object="base_model")
    gone(http.delete(f"/v1/training_jobs/{waiting_job.id}"), id=waiting_job.id, object="training_job")
    assert http.get(f"/v1/fine_tuning/jobs/{waiting_job.id}").status_code == 404


def test_a_project_is_not_deleted_while_it_holds_something(http: httpx2.Client) -> None:
    assert http.post("/v1/projects", json={"id": "brief"}).status_code == 200
    gone(http.delete("/v1/projects/brief"), id="brief", object="project")
    assert http.post("/v1/projects", json={"id": "brief"}).status_code == 409
    assert "names no project" in refused(http.delete("/v1/projects/default"))["message"]
    assert http.delete("/v1/projects/nobody").status_code == 404
