"""The whole OpenAPI document: everything described, an example for each JSON body, names that clients can be made of."""

import re
from collections.abc import Iterator
from typing import Any, Final

from jsonschema import Draft202012Validator

JSON: Final = "application/json"
NAME: Final = re.compile(r"[a-z]+(_[a-z]+)*")
# Clients call these by name. A new operation is added here once it is released; none goes away.
OPERATIONS: Final = {
    "upload_file", "list_files", "get_file", "download_file", "delete_file", "check_file", "measure_file", "preview_file",
    "create_job", "list_jobs", "get_job", "cancel_job", "pause_job", "pause_training_job", "resume_job", "resume_training_job",
    "list_events", "list_checkpoints", "list_training_job_checkpoints", "plan_job", "get_report", "watch_job",
    "list_models", "get_model", "load_model", "unload_model", "list_loaded_models", "create_chat_completion",
    "create_completion", "create_base_model", "list_base_models", "get_base_model", "list_adapters", "get_adapter",
    "list_versions", "import_version", "read_version_file", "revoke_version", "move_alias", "create_project", "list_projects",
    "create_key", "list_keys", "get_key", "revoke_key", "list_audit_events", "get_session", "log_in", "log_out", "healthz",
    "readyz", "delete_job", "delete_model", "delete_base_model", "delete_adapter", "delete_version", "delete_alias",
    "delete_project",
}  # fmt: skip
OPEN: Final = {"log_in", "log_out", "healthz", "readyz"}


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Every operation, with its responses in place of references to them."""
    found = [dict(operation) for item in document["paths"].values() for operation in item.values()]
    for operation in found:
        operation["responses"] = {status: resolved(document, given) for status, given in operation["responses"].items()}
    return found


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        schema = next(choice for choice in schema["anyOf"] if "$ref" in choice)
    found: dict[str, Any] = document
    for part in schema["$ref"].removeprefix("#/").split("/") if "$ref" in schema else ():
        found = found[part]
    return schema if found is document else found


def bodies(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where a body is, and what OpenAPI calls its media type."""
    named = {"request": operation.get("requestBody", {}), **operation["responses"]}
    for where, body in named.items():
        for media_type, content in body.get("content", {}).items():
            yield f"{operation['operationId']} {where} {media_type}", content


def examples(document: dict[str, Any], content: dict[str, Any]) -> list[Any]:
    own = [content["example"]] if "example" in content else []
    return own or list(resolved(document, content["schema"]).get("examples", []))


def test_operations_keep_their_names(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(document)]
    assert len(names) == len(set(names))
    assert set(names) >= OPERATIONS
    assert [name for name in names if not NAME.fullmatch(name)] == []


def test_everything_is_described(document: dict[str, Any]) -> None:
    tags = {tag["name"]: tag["description"] for tag in document["tags"]}
    for operation in operations(document):
        name = operation["operationId"]
        assert operation["summary"], name
        assert operation["description"], name
        assert len(operation["tags"]) == 1, name
        assert tags[operation["tags"][0]], name
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (name, parameter["name"])
        if "requestBody" in operation:
            assert operation["requestBody"]["description"], name
        for status, response in operation["responses"].items():
            assert response["description"] not in {"", "Successful Response"}, (name, status)
            assert response["content"], (name, status)


def test_every_schema_is_described_and_so_is_every_field_that_is_sent(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert [name for name, schema in schemas.items() if not schema.get("description")] == []
    sent = set()

    def follow(value: Any) -> None:
        for reference in re.findall(r"#/components/schemas/([\w.-]+)", str(value)):
            if reference not in sent:
                sent.add(reference)
                follow(schemas[reference])

    for operation in operations(document):
        follow(operation.get("requestBody"))
    assert {"ChatRequest", "Message", "CreateJob", "Hyperparameters", "MoveAlias"} <= sent
    undescribed = [
        (name, field)
        for name in sorted(sent)
        for field, schema in schemas[name]["properties"].items()
        if not schema.get("description") and "const" not in schema
    ]
    assert undescribed == []


def test_every_json_body_has_an_example_that_fits(document: dict[str, Any]) -> None:
    seen = 0
    for operation in operations(document):
        for where, content in bodies(operation):
            if not where.endswith((JSON, "x-ndjson", "event-stream")):
                continue
            found = examples(document, content)
            assert found, where
            schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **content["schema"]}
            schema["components"] = document["components"]
            for example in found:
                errors = [error.message for error in Draft202012Validator(schema).iter_errors(example)]
                assert errors == [], where
                seen += 1
    assert seen > 500


def test_an_example_of_an_answer_has_every_field(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", []):
            if "object" in schema.get("properties", {}):
                assert set(schema["required"]) <= set(example), name
                assert set(example) <= set(schema["properties"]), name


def test_errors_are_typed(document: dict[str, Any]) -> None:
    error = document["components"]["schemas"]["ErrorObject"]["properties"]
    assert {"adapter_base_mismatch", "dataset_invalid", "unknown_url"} <= set(error["code"]["enum"])
    for operation in operations(document):
        for status, response in operation["responses"].items():
            if status == "200":
                continue
            content = response["content"][JSON]
            assert content["schema"] == {"$ref": "#/components/schemas/ErrorAnswer"}
            told = content["example"]["error"]
            assert told["type"] in error["type"]["enum"]
            assert ("Retry-After" in response.get("headers", {})) is (status in {"429", "503"})


def test_a_key_is_asked_for_wherever_one_is_needed(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    assert schemes["ApiKey"]["scheme"] == "bearer"
    assert [set(choice) for choice in document["security"]] == [{"ApiKey"}, {"Session"}]
    for operation in operations(document):
        assert (operation.get("security") == []) is (operation["operationId"] in OPEN), operation["operationId"]
