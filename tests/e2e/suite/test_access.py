"""Who gets in: every method and every route, with another project's key, one of lesser scope, a revoked one, and none."""

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from services.common.auth.caller import Scope
from services.common.auth.keys import new_key
from services.common.auth.rules import RULES
from tenon.trainer.v1 import training_job_pb2
from tests.support.methods import fill, methods, path
from tests.support.suite import RunningSuite, environment, wait_for

PROMISED_SECONDS = 5.0
SERVICES = {
    "tenon.trainer": "trainer",
    "tenon.registry": "registry",
    "tenon.iam": "registry",
    "tenon.inference": "inference",
}


@dataclass(frozen=True)
class Keys:
    reader: str
    trainer: str
    server: str
    stranger: str
    revoked: str

    def scoped(self) -> dict[Scope, str]:
        return {Scope.READ: self.reader, Scope.TRAIN: self.trainer, Scope.SERVE: self.server}


@pytest.fixture(scope="module")
def keys(trained: RunningSuite) -> Keys:
    with trained.client() as client:
        client.post("/v1/projects", {"id": "other"})

        def make(*scopes: str) -> str:
            return str(client.post("/v1/api_keys", {"scopes": list(scopes)})["secret"])

        revoked = client.post("/v1/api_keys", {"scopes": ["admin"]})
        client.post(f"/v1/api_keys/{revoked['id']}/revoke")
        reader, trainer, server = make("read"), make("train"), make("serve")
    other = trained.tenon("key", "create", "--scope", "admin", env=environment(TENON_PROJECT="other"), timeout=60)
    assert other.returncode == 0, other.stderr
    return Keys(reader, trainer, server, other.stdout.strip(), revoked["secret"])


@pytest.fixture(scope="module")
def channels(trained: RunningSuite) -> Iterator[dict[str, grpc.Channel]]:
    opened = {name: grpc.insecure_channel(trained.endpoints[name]) for name in ("trainer", "registry", "inference")}
    yield opened
    for channel in opened.values():
        channel.close()


def outcome(
    channels: dict[str, grpc.Channel], method: MethodDescriptor, key: str | None, project: str = "default"
) -> tuple[str, str]:
    """The status of a call that names everything of a project, and its message."""
    request = GetMessageClass(method.input_type)()
    fill(request, f"projects/{project}/adapters/parrot")
    package = next(prefix for prefix in SERVICES if method.full_name.startswith(prefix))
    shape = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    call = getattr(channels[SERVICES[package]], shape)(
        path(method), type(request).SerializeToString, GetMessageClass(method.output_type).FromString
    )
    metadata = [("authorization", f"Bearer {key}")] if key else []
    try:
        answer = call(iter([request]) if method.client_streaming else request, timeout=20, metadata=metadata)
        if method.server_streaming:
            next(answer)
    except grpc.RpcError as error:
        return error.code().name, str(error.details())
    except StopIteration:
        pass
    return "OK", ""


def test_no_method_answers_without_a_valid_key(channels: dict[str, grpc.Channel], keys: Keys) -> None:
    for method in methods():
        for key in (None, keys.revoked, new_key()):
            code, message = outcome(channels, method, key)
            assert code == "UNAUTHENTICATED", method.full_name
            assert "parrot" not in message


def test_no_method_touches_another_project(channels: dict[str, grpc.Channel], keys: Keys) -> None:
    shared = {"ListBaseModels", "ListLoadedModels", "ListProjects"}
    for method in methods():
        code, message = outcome(channels, method, keys.stranger)
        if method.name in shared:
            # The filled page token is none of theirs; they may ask.
            assert code in {"OK", "INVALID_ARGUMENT"}, method.full_name
            continue
        assert code == "PERMISSION_DENIED", (method.full_name, message)
        assert "parrot" not in message
        assert "default" not in message


def test_no_method_changes_anything_in_a_project_that_is_not_there(
    trained: RunningSuite, channels: dict[str, grpc.Channel]
) -> None:
    assert trained.key is not None
    for method in methods():
        rule = RULES[path(method)]
        if rule.mutates and not rule.all_projects:
            outcome_there = outcome(channels, method, trained.key, "never-made")
            assert outcome_there == ("NOT_FOUND", "There is no project never-made."), method.full_name


def test_a_project_has_to_be_made_and_not_only_named(trained: RunningSuite, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "Say 1.", "completion": "1."}\n' * 10)

    def upload() -> subprocess.CompletedProcess[str]:
        return trained.tenon("data", "upload", file, env=environment(TENON_PROJECT="soon"), timeout=60)

    refused = upload()
    assert refused.returncode == 4
    assert refused.stderr == "Error: There is no project soon. `tenon project list` shows what there is.\n"
    assert trained.tenon("project", "create", "soon").returncode == 0
    uploaded = upload()
    assert uploaded.returncode == 0, uploaded.stderr


def test_no_method_does_more_than_the_key_s_scope(channels: dict[str, grpc.Channel], keys: Keys) -> None:
    for method in methods():
        rule = RULES[path(method)]
        for scope, key in keys.scoped().items():
            if scope in rule.scopes and not rule.all_projects and not rule.services_only:
                continue
            code, message = outcome(channels, method, key)
            assert code == "PERMISSION_DENIED", (method.full_name, scope, message)


ANSWERED_TO_ALL = {("GET", "/healthz"), ("GET", "/readyz"), ("POST", "/v1/session"), ("DELETE", "/v1/session")}


def routes(url: str) -> list[tuple[str, str]]:
    document = httpx2.get(f"{url}/openapi.json").json()
    return [(method.upper(), route) for route, item in document["paths"].items() for method in item]


def ask(http: httpx2.Client, method: str, route: str, **headers: str) -> httpx2.Response:
    filled = route.replace("{path}", "adapter_config.json").replace("{version}", "0" * 64)
    while "{" in filled:
        before, _, rest = filled.partition("{")
        filled = f"{before}parrot{rest.partition('}')[2]}"
    body: dict[str, Any] = {"json": {}} if method in {"POST", "PUT"} else {}
    return http.request(method, filled, headers=headers, **body)


def test_no_route_answers_without_a_valid_key(trained: RunningSuite, keys: Keys) -> None:
    url = trained.endpoints["gateway"]
    asked = 0
    with httpx2.Client(base_url=url, timeout=20) as http:
        for method, route in routes(url):
            if (method, route) in ANSWERED_TO_ALL:
                continue
            for headers in ({}, {"Authorization": f"Bearer {keys.revoked}"}, {"Authorization": "Bearer parrot"}):
                answer = ask(http, method, route, **headers)
                assert answer.status_code == 401, (method, route)
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert answer.json()["error"]["type"] == "authentication_error"
                asked += 1
            trespass = {"Authorization": f"Bearer {keys.stranger}", "Tenon-Project": "default"}
            answer = ask(http, method, route, **trespass)
            assert answer.status_code == 403, (method, route)
            assert "parrot" not in answer.text
    assert asked > 90


def test_another_project_s_key_finds_nothing_of_ours(trained: RunningSuite, keys: Keys) -> None:
    headers = {"Authorization": f"Bearer {keys.stranger}"}
    with httpx2.Client(base_url=trained.endpoints["gateway"], timeout=20, headers=headers) as http:
        for route in ("/v1/adapters", "/v1/files", "/v1/fine_tuning/jobs"):
            assert http.get(route).json()["data"] == []
        assert http.get("/v1/adapters/parrot").status_code == 404
        models = {model["id"] for model in http.get("/v1/models").json()["data"]}
        assert "parrot" not in models
        assert "tiny-qwen" in models
        assert "parrot" not in http.get("/v1/loaded_models").text
        chat = {"model": "parrot", "messages": [{"role": "user", "content": "Say 3"}]}
        assert http.post("/v1/chat/completions", json=chat).status_code == 404
        assert "default" not in {event["project"] for event in http.get("/v1/audit_events").json()["data"]}


def test_a_revoked_key_ends_within_five_seconds(trained: RunningSuite) -> None:
    made = json.loads(trained.tenon("key", "create", "--scope", "read", "--name", "short-lived", "--json").stdout)
    headers = {"Authorization": f"Bearer {made['secret']}"}
    with httpx2.Client(base_url=trained.endpoints["gateway"], timeout=20, headers=headers) as http:
        assert http.get("/v1/adapters").status_code == 200
        assert trained.tenon("key", "revoke", made["id"]).returncode == 0
        revoked = time.monotonic()
        wait_for(lambda: http.get("/v1/adapters").status_code == 401, "the key's end", timeout=PROMISED_SECONDS)
        assert time.monotonic() - revoked < PROMISED_SECONDS
    listed = trained.tenon("key", "list").stdout
    assert "revoked" in next(line for line in listed.splitlines() if "short-lived" in line)
    assert made["secret"] not in listed


def test_a_stream_does_not_outlive_its_key(trained: RunningSuite, rows_file: Path) -> None:
    options = ("--name", "watched", "--epochs", "900", "--detach", "--json")
    job = json.loads(trained.tenon("train", "--base", "tiny-gpt", "--data", rows_file, *options).stdout)["id"]
    made = json.loads(trained.tenon("key", "create", "--scope", "read", "--json").stdout)
    headers = {"Authorization": f"Bearer {made['secret']}"}
    with (
        httpx2.Client(base_url=trained.endpoints["gateway"], timeout=20, headers=headers) as http,
        http.stream("GET", f"/v1/training_jobs/{job}/watch") as stream,
    ):
        lines = stream.iter_lines()
        assert next(lines)
        assert trained.tenon("key", "revoke", made["id"]).returncode == 0
        revoked = time.monotonic()
        rest = "".join(lines)
        # Heartbeats, steps: something is sent every second or so.
        assert time.monotonic() - revoked < 2 * PROMISED_SECONDS
    assert "unauthenticated" in rest
    assert trained.tenon("job", "cancel", job).returncode == 0


def test_a_key_s_limit_is_told_in_headers_and_kept(trained: RunningSuite) -> None:
    made = json.loads(
        trained.tenon(
            "key", "create", "--scope", "serve", "--requests-per-minute", "3", "--tokens-per-minute", "50", "--json"
        ).stdout
    )
    headers = {"Authorization": f"Bearer {made['secret']}"}
    chat = {"model": "tiny-qwen", "messages": [{"role": "user", "content": "Say 3"}], "max_tokens": 4}
    with httpx2.Client(base_url=trained.endpoints["gateway"], timeout=60, headers=headers) as http:
        began = time.monotonic()
        first = http.post("/v1/chat/completions", json=chat)
        assert first.status_code == 200, first.text
        assert first.headers["x-ratelimit-limit-requests"] == "3"
        assert first.headers["x-ratelimit-remaining-requests"] == "2"
        spent = first.json()["usage"]["total_tokens"]
        again = http.get("/v1/models")
        came_in = (time.monotonic() - began) * 50 / 60
        assert int(again.headers["x-ratelimit-remaining-tokens"]) <= 50 - spent + came_in
        statuses = [http.get("/v1/models").status_code for _ in range(4)]
    assert 429 in statuses


def test_what_was_changed_is_in_the_audit_log(trained: RunningSuite, keys: Keys) -> None:
    headers = {"Authorization": f"Bearer {keys.trainer}"}
    with httpx2.Client(base_url=trained.endpoints["gateway"], timeout=20, headers=headers) as http:
        assert http.post("/v1/fine_tuning/jobs/nothing/cancel").status_code == 404

    def logged() -> dict[str, Any] | None:
        rows = json.loads(trained.tenon("audit", "--json").stdout)
        return next((row for row in rows if row["resource"] == "projects/default/trainingJobs/nothing"), None)

    event = wait_for(logged, "the entry")
    assert event["method"] == "/tenon.trainer.v1.TrainingJobService/CancelTrainingJob"
    assert event["code"] == "NOT_FOUND"
    assert event["peer"].startswith("127.0.0.1:")
    assert event["principal"].startswith("projects/default/apiKeys/key-")
    shown = trained.tenon("audit").stdout
    assert "CancelTrainingJob" in shown
    # What the worker published is there as well, as its own deed.
    everything = json.loads(trained.tenon("audit", "--limit", "500", "--json").stdout)
    assert {"services/worker"} <= {row["principal"] for row in everything if "FinalizeAdapterVersion" in row["method"]}


def test_a_name_that_no_database_keeps_is_refused_and_written_down(
    trained: RunningSuite, channels: dict[str, grpc.Channel]
) -> None:
    name = "projects/default/trainingJobs/x\0y"
    call: Any = channels["trainer"].unary_unary("/tenon.trainer.v1.TrainingJobService/CancelTrainingJob")
    request = training_job_pb2.CancelTrainingJobRequest(name=name).SerializeToString()
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=20, metadata=(("authorization", f"Bearer {trained.key}"),))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    wait_for(lambda: "trainingJobs/x" in trained.tenon("audit", "--json").stdout, "the entry")


def test_the_command_line_says_what_is_missing(trained: RunningSuite, keys: Keys) -> None:
    ran = trained.tenon("adapter", "list", env=environment(TENON_API_KEY=keys.revoked))
    assert ran.returncode == 6
    assert "There is no valid API key" in ran.stderr
    ran = trained.tenon("job", "cancel", "nothing", env=environment(TENON_API_KEY=keys.reader))
    assert ran.returncode == 6
    assert "This key lacks the scope for that: it needs train" in ran.stderr
