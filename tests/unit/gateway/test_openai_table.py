"""docs/openai.md against what the gateway describes and what OpenAI's client can send."""

import json
import re
from pathlib import Path
from typing import Any, Final, get_type_hints

import pytest
from openai.types import FileCreateParams, FileListParams
from openai.types.chat.completion_create_params import CompletionCreateParamsBase as ChatParams
from openai.types.completion_create_params import CompletionCreateParamsBase as CompletionParams
from openai.types.fine_tuning import JobCreateParams, JobListEventsParams, JobListParams
from openai.types.fine_tuning.jobs import CheckpointListParams
from openai.types.fine_tuning.supervised_hyperparameters_param import SupervisedHyperparametersParam

from gateway.app import create_app
from gateway.services import open_services
from gateway.settings import GatewaySettings
from gateway.unsupported import refusal

SUPPORTED, NEUTRAL, UNUSED, OURS, REFUSED = "supported", "refused unless neutral", "unused", "Tenon's own", "refused"

TYPES: Final[dict[str, Any]] = {
    "POST /v1/files": FileCreateParams,
    "GET /v1/files": FileListParams,
    "POST /v1/fine_tuning/jobs": JobCreateParams,
    "POST /v1/fine_tuning/jobs: method.supervised.hyperparameters": SupervisedHyperparametersParam,
    "GET /v1/fine_tuning/jobs": JobListParams,
    "GET /v1/fine_tuning/jobs/{fine_tuning_job_id}/events": JobListEventsParams,
    "GET /v1/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints": CheckpointListParams,
    "POST /v1/chat/completions": ChatParams,
    "POST /v1/completions": CompletionParams,
}
"""What OpenAI's client can send to each endpoint that takes more than an id."""
# Written by the client itself, as an argument of its own.
STREAM: Final = {"POST /v1/chat/completions", "POST /v1/completions"}
OF_OPENAI: Final = re.compile(r"/v1/(files|fine_tuning|models|chat|completions)(/|$)")
ROW: Final = re.compile(r"^\| `([^`]+)` \| ([^|]+?) \| ?([^|]*?) ?\|$", re.MULTILINE)


@pytest.fixture(scope="module")
def page(project_root: Path) -> str:
    return (project_root / "docs" / "openai.md").read_text()


@pytest.fixture(scope="module")
async def document() -> dict[str, Any]:
    settings = GatewaySettings(
        registry_target="127.0.0.1:1", trainer_target="127.0.0.1:1", inference_target="127.0.0.1:1"
    )
    async with open_services(settings) as services:
        return create_app(services).openapi()


def table(page: str, heading: str) -> dict[str, tuple[str, str]]:
    """The rows below a heading: first column to the second and the third."""
    below = page.split(f"# {heading}\n", 1)[1]
    return {name: (state, note) for name, state, note in ROW.findall(below.split("\n##")[0])}


def described(document: dict[str, Any], endpoint: str) -> dict[str, dict[str, Any]]:
    """The parameters of an endpoint with their schemas."""
    endpoint, _, part = endpoint.partition(": ")
    method, path = endpoint.split(" ")
    operation = document["paths"][path][method.lower()]
    found = {p["name"]: p | p["schema"] for p in operation.get("parameters", []) if p["in"] == "query"}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        found |= resolved(document, content["schema"])["properties"]
    if part:
        return dict(document["components"]["schemas"]["Hyperparameters"]["properties"])
    return found


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"][name] if name else schema


def states(document: dict[str, Any], endpoint: str) -> dict[str, str]:
    """What each parameter's state is in truth."""
    known = set(get_type_hints(TYPES[endpoint])) | ({"stream"} if endpoint in STREAM else set())
    here = described(document, endpoint)
    return {name: state(name, here, known) for name in known | set(here)}


def state(name: str, here: dict[str, dict[str, Any]], known: set[str]) -> str:
    if name not in here:
        return REFUSED
    text = here[name].get("description", "")
    if text.startswith("Not supported yet"):
        return NEUTRAL
    if text.startswith("Accepted and not used"):
        return UNUSED
    return SUPPORTED if name in known else OURS


@pytest.mark.parametrize("endpoint", TYPES)
def test_every_parameter_is_listed_with_its_state(page: str, document: dict[str, Any], endpoint: str) -> None:
    listed = table(page, endpoint)
    assert {name: state for name, (state, _) in listed.items()} == states(document, endpoint)
    for name, schema in described(document, endpoint).items():
        if listed[name][0] == NEUTRAL:
            neutral = ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
            assert listed[name][1].startswith(neutral), name


def test_every_endpoint_is_listed_with_its_state(page: str, document: dict[str, Any]) -> None:
    listed = table(page, "Endpoints")
    supported = {name for name, (state, _) in listed.items() if state == SUPPORTED}
    described = {
        f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        if OF_OPENAI.match(path) and not path.endswith(("/load", "/unload"))
        for method in item
    }
    assert supported == described
    refused = [name.split(" ") for name, (state, _) in listed.items() if state == REFUSED]
    assert refused
    for method, path in refused:
        assert refusal(method, path.replace("…", "x")), path


def test_what_is_refused_has_a_sentence_and_what_is_there_has_none(document: dict[str, Any]) -> None:
    assert refusal("POST", "/v1/embeddings") is not None
    assert refusal("POST", "/v1/embeddingsx") is None
    assert refusal("POST", "/embeddings") is None
    for path, item in document["paths"].items():
        for method in item:
            assert refusal(method.upper(), path) is None
