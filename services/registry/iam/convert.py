"""Messages of ``tenon.iam.v1`` to and from what is kept."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from services.common.auth.audit import audit_event
from services.common.auth.guard import AuditEntry
from services.common.auth.introspection import scope_to_proto
from services.registry.iam.model import ApiKey, Project, RecordedEntry
from tenon.iam.v1 import iam_pb2 as pb


def project_to_proto(project: Project) -> pb.Project:
    """Write a project."""
    return pb.Project(
        name=f"projects/{project.project}",
        display_name=project.display_name,
        create_time=_timestamp(project.create_time),
    )


def key_to_proto(key: ApiKey) -> pb.ApiKey:
    """Write a key."""
    return pb.ApiKey(
        name=str(key.name),
        display_name=key.display_name,
        prefix=key.prefix,
        scopes=map(scope_to_proto, key.scopes),
        all_projects=key.all_projects,
        requests_per_minute=key.requests_per_minute,
        tokens_per_minute=key.tokens_per_minute,
        expire_time=_timestamp(key.expire_time),
        create_time=_timestamp(key.create_time),
        revoke_time=_timestamp(key.revoke_time),
        creator=key.creator,
    )


def entry_to_proto(recorded: RecordedEntry) -> pb.AuditEvent:
    """Write an audit event."""
    event = audit_event(recorded.entry)
    event.sequence = recorded.sequence
    return event


def entry_from_proto(event: pb.AuditEvent) -> AuditEntry:
    """Read an audit event."""
    return AuditEntry(
        time=event.time.ToNanoseconds() / 1e9,
        principal=event.principal,
        project=event.project,
        method=event.method,
        resource=event.resource,
        peer=event.peer,
        code=event.code,
    )


def _timestamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp
