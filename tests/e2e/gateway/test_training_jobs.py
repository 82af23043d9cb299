"""What OpenAI has no word for about jobs: watches, plans, reports, gates."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2

from tests.e2e.gateway.stack import Stack, free_port

FORCE = {"force": True}
"""The file's eight rows are hopeless, and nothing shall be learnt here."""


def updates(stack: Stack, job_id: str, after: int = 0) -> Iterator[dict[str, Any]]:
    with stack.http() as http, http.stream("GET", f"/v1/training_jobs/{job_id}/watch?after={after}") as watch:
        assert watch.headers["content-type"].startswith("text/event-stream")
        for line in watch.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


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


def test_a_stop_ends_watches_at_once_and_says_why(stack: Stack, http: httpx2.Client, file_id: str) -> None:
    job_id = http.post("/v1/fine_tuning/jobs", json={"model": "tiny-gpt", "training_file": file_id, **FORCE}).json()[
        "id"
    ]
    second = Stack(stack.root / "second", stack.database_url, stack.key, ports={**stack.ports, "gateway": free_port()})
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
