"""Projects, keys and the audit log."""

from typing import Literal

from pydantic import ConfigDict, Field

from gateway.schemas.common import MAX_INT64, Accepted, Answered

ScopeName = Literal["read", "train", "serve", "admin"]


class CreateProject(Accepted):
    """A project to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": "web-shop", "display_name": "The web shop"}]})

    id: str = Field(max_length=63, description="1 to 63 of a-z, 0-9 and '-'.")
    display_name: str = Field("", max_length=256, description="For people.")


class Project(Answered):
    """What adapters, files, jobs and keys belong to."""

    id: str
    object: Literal["project"] = "project"
    display_name: str
    create_time: str


class CreateKey(Accepted):
    """A key to make."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"display_name": "the web shop", "scopes": ["serve"], "requests_per_minute": 600}]
        }
    )

    display_name: str = Field("", max_length=256, description="For people; in the audit log, too.")
    scopes: list[ScopeName] = Field(min_length=1, max_length=4, description="What it may do in its project.")
    all_projects: bool = Field(False, description="Whether it may do that in every project.")
    requests_per_minute: int = Field(0, ge=0, le=MAX_INT64, description="0 sets no limit.")
    tokens_per_minute: int = Field(0, ge=0, le=MAX_INT64, description="Of prompts and answers; 0 sets no limit.")
    expires_in_seconds: int | None = Field(
        None, ge=1, le=10 * 366 * 86_400, description="Left out, it does not expire."
    )


class ApiKey(Answered):
    """A key, without its secret."""

    id: str
    object: Literal["api_key"] = "api_key"
    project: str
    display_name: str
    prefix: str = Field(description="How it begins.")
    scopes: list[ScopeName]
    all_projects: bool
    requests_per_minute: int
    tokens_per_minute: int
    creator: str
    create_time: str
    expire_time: str | None
    revoke_time: str | None


class NewApiKey(ApiKey):
    """A key, with its secret, which is told this once."""

    secret: str


class AuditEvent(Answered):
    """Something that somebody changed, or tried to."""

    sequence: int
    object: Literal["audit_event"] = "audit_event"
    time: str
    principal: str = Field(description="The name of a key, or of a service.")
    project: str
    method: str = Field(description="The gRPC method's full name.")
    resource: str
    peer: str = Field(description="Where the call came from.")
    code: str = Field(description="How it ended: OK, PERMISSION_DENIED, …")
