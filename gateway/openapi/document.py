"""The document: FastAPI's, completed by what it cannot read from the routes."""

import re
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway.auth import OPEN, SESSION_PATH
from gateway.openapi.errors import ERROR_EXAMPLES
from gateway.openapi.examples import EXAMPLES
from gateway.schemas.answers import ChatCompletionChunk, Completion
from gateway.schemas.files import CheckLine
from gateway.schemas.fine_tuning import WatchUpdate
from gateway.session import COOKIE

DESCRIPTION: Final = (
    "Trains, registers and serves LoRA adapters; an adapter answers only on the base it was trained on.\n\n"
    "What OpenAI's API has a word for has OpenAI's shape; the rest is Tenon's own. Every answer that is no success is an "
    "`ErrorAnswer`. A key belongs to a project, and sees nothing else; a key for all projects says which one it means by "
    "the header `Tenon-Project`. Times are RFC 3339 in UTC, or, in OpenAI's objects, seconds since 1970."
)

TAGS: Final = [
    {"name": "Files", "description": "Files of training rows, as OpenAI's clients know them."},
    {
        "name": "Data sets",
        "description": "The check of a file without storing it, and what a base makes of a stored one.",
    },
    {
        "name": "Fine-tuning",
        "description": "Plans, jobs, their events and checkpoints, and reports of what was learnt.",
    },
    {"name": "Models", "description": "What can answer, and what is in memory."},
    {"name": "Chat", "description": "Answers to conversations."},
    {"name": "Completions", "description": "Continuations of texts."},
    {"name": "Base models", "description": "Bases, known by the fingerprint of their bytes."},
    {"name": "Adapters", "description": "Adapters, their versions, files and aliases."},
    {"name": "Storage", "description": "What lies in the artifact store."},
    {"name": "Access", "description": "Projects, keys, the audit log, and the console's session."},
    {"name": "Health", "description": "Whether the suite is there."},
]

_STREAMS: Final[dict[str, tuple[str, type[BaseModel]]]] = {
    "check_file": ("application/x-ndjson", CheckLine),
    "watch_job": ("text/event-stream", WatchUpdate),
    "create_chat_completion": ("text/event-stream", ChatCompletionChunk),
    "create_completion": ("text/event-stream", Completion),
}
"""Answers in pieces, by operation: their media type, and what each line or event holds."""

_BYTES: Final = {"download_file": "The file, as it was uploaded.", "read_version_file": "The file."}
"""Answers that are bytes, by operation."""

_SECURITY: Final = {
    "ApiKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key: `Authorization: Bearer tenon-…`. A suite without keys lets everybody in.",
    },
    "Session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "The console's session, which `POST /v1/session` begins.",
    },
}
_REFERENCE: Final = "#/components/schemas/{model}"
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9.\-_]")


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Describe the API by OpenAPI 3.1, with the errors it really gives."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
        )
        components = document["components"]
        for unused in ("HTTPValidationError", "ValidationError"):
            components["schemas"].pop(unused, None)
        _add_streamed(components["schemas"])
        _add_examples(components["schemas"])
        components["responses"] = _errors(next(iter(document["paths"].values())))
        components["securitySchemes"] = _SECURITY
        document["security"] = [{name: []} for name in _SECURITY]
        for path, item in document["paths"].items():
            for method, operation in item.items():
                _complete(operation, components["schemas"])
                if path in OPEN or (path == SESSION_PATH and method in {"post", "delete"}):
                    operation["security"] = []
        app.openapi_schema = document
    return app.openapi_schema


def _add_streamed(schemas: dict[str, Any]) -> None:
    """Add what pieces of streams hold, which no route answers with as a whole."""
    models = [(model, "serialization") for _, model in _STREAMS.values()]
    _, found = models_json_schema(models, ref_template=_REFERENCE)  # type: ignore[arg-type]  # a list of literals
    for name, schema in found["$defs"].items():
        schemas.setdefault(name, schema)


def _add_examples(schemas: dict[str, Any]) -> None:
    for example in EXAMPLES:
        schemas[_schema_name(type(example))]["examples"] = [example.model_dump(mode="json")]


def _errors(item: dict[str, Any]) -> dict[str, Any]:
    """The errors of any operation, which are those of all. Written once, they leave generated clients a third as long."""
    responses = next(iter(item.values()))["responses"]
    found = {_error_name(status): responses[status] for status in ERROR_EXAMPLES}
    for status, example in ERROR_EXAMPLES.items():
        found[_error_name(status)]["content"]["application/json"]["example"] = example
    return found


def _error_name(status: str) -> str:
    return f"Error{status}"


def _schema_name(model: type[BaseModel]) -> str:
    """What pydantic calls a model in a document: ``Listing[Job]`` is ``Listing_Job_``."""
    return _NOT_IN_NAMES.sub("_", model.__name__)


def _complete(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    name, responses = operation["operationId"], operation["responses"]
    # FastAPI's own answer to a wrong request; ours is a 400.
    responses.pop("422", None)
    for status in responses.keys() & ERROR_EXAMPLES.keys():
        responses[status] = {"$ref": f"#/components/responses/{_error_name(status)}"}
    success = responses["200"]
    if name in _STREAMS:
        media_type, model = _STREAMS[name]
        schema = {"$ref": _REFERENCE.format(model=_schema_name(model))}
        success.setdefault("content", {})[media_type] = {"schema": schema}
    if name in _BYTES:
        success["content"] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    success["description"] = _BYTES.get(name) or _description(success, schemas)
    if "requestBody" in operation:
        body = operation["requestBody"]
        body.setdefault("description", _description(body, schemas))


def _description(body: dict[str, Any], schemas: dict[str, Any]) -> str:
    """What a body is: the description of its schema."""
    schema = next(iter(body["content"].values()))["schema"]
    choices = [schema, *schema.get("anyOf", [])]
    reference = next((choice["$ref"] for choice in choices if "$ref" in choice), "")
    return str(schemas.get(reference.rpartition("/")[2], {}).get("description", ""))
