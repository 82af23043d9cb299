"""Projects, keys and audit events as REST shows them."""

import time

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.mapping.times import rfc3339
from gateway.schemas.iam import ApiKey, AuditEvent, CreateKey, NewApiKey, Project
from services.common.auth.caller import Scope
from services.common.auth.introspection import scope_from_proto, scope_to_proto
from services.common.resource_names import ApiKeyName
from tenon.iam.v1 import iam_pb2


def project_object(project: iam_pb2.Project) -> Project:
    """Write a project."""
    return Project(
        id=project.name.removeprefix("projects/"),
        display_name=project.display_name,
        create_time=rfc3339(project, "create_time") or "",
    )


def key_object(key: iam_pb2.ApiKey) -> ApiKey:
    """Write a key."""
    name = ApiKeyName.parse(key.name)
    return ApiKey(
        id=name.api_key,
        project=name.project,
        display_name=key.display_name,
        prefix=key.prefix,
        scopes=[scope_from_proto(scope).value for scope in key.scopes],
        all_projects=key.all_projects,
        requests_per_minute=key.requests_per_minute,
        tokens_per_minute=key.tokens_per_minute,
        creator=key.creator,
        create_time=rfc3339(key, "create_time") or "",
        expire_time=rfc3339(key, "expire_time"),
        revoke_time=rfc3339(key, "revoke_time"),
    )


def new_key_object(made: iam_pb2.CreateApiKeyResponse) -> NewApiKey:
    """Write a key that was just made."""
    return NewApiKey(**key_object(made.api_key).model_dump(), secret=made.secret)


def key_asked(body: CreateKey) -> iam_pb2.ApiKey:
    """Read what a key shall be."""
    expires = None
    if body.expires_in_seconds is not None:
        expires = Timestamp(seconds=int(time.time()) + body.expires_in_seconds)
    return iam_pb2.ApiKey(
        display_name=body.display_name,
        scopes=[scope_to_proto(Scope(scope)) for scope in body.scopes],
        all_projects=body.all_projects,
        requests_per_minute=body.requests_per_minute,
        tokens_per_minute=body.tokens_per_minute,
        expire_time=expires,
    )


def event_object(event: iam_pb2.AuditEvent) -> AuditEvent:
    """Write an audit event."""
    return AuditEvent(
        sequence=event.sequence,
        time=rfc3339(event, "time") or "",
        principal=event.principal,
        project=event.project,
        method=event.method,
        resource=event.resource,
        peer=event.peer,
        code=event.code,
    )
