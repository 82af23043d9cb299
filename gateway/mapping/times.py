"""Points in time."""

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def unix(time: Timestamp) -> int:
    """Seconds since 1970, as OpenAI writes times."""
    return time.seconds


def rfc3339(message: Message, field: str) -> str | None:
    """A message's time as text; None where it is not set."""
    if not message.HasField(field):
        return None
    time: Timestamp = getattr(message, field)
    return time.ToJsonString()
