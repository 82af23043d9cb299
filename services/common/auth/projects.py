"""Which projects a request is about: read from its resource names, wherever in the message they are.

Fields that hold resource names are known from the contracts: by their ``resource_reference``, as identifiers, or as ``name``,
``parent`` and ``model``. So a field that is added is checked without anybody having to think of it, and no text of a user's is taken
for a name.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from google.api import field_behavior_pb2, resource_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_NAMES: Final = frozenset({"name", "parent", "model"})
_COLLECTION: Final = "projects"
_OURS: Final = "tenon."


def resources_of(message: Message) -> Iterator[str]:
    """Every resource name in a request, of projects or not, in the order of its fields."""
    for field, holds_name in _fields(message.DESCRIPTOR):
        value = getattr(message, field.name)
        if holds_name:
            yield from filter(None, [value] if isinstance(value, str) else value)
        elif field.is_repeated:
            for part in _messages(value):
                yield from resources_of(part)
        elif message.HasField(field.name):
            yield from resources_of(value)


def project_of(resource: str) -> str | None:
    """The project in a resource name; None for what belongs to none. An empty one is one that nobody has."""
    collection, _, rest = resource.partition("/")
    return rest.partition("/")[0] if collection == _COLLECTION else None


def _messages(value: Any) -> Iterator[Message]:
    return iter(value.values() if hasattr(value, "values") else value)


@cache
def _fields(descriptor: Descriptor) -> tuple[tuple[FieldDescriptor, bool], ...]:
    """The fields that hold resource names, and those to look into."""
    found = []
    for field in descriptor.fields:
        if _holds_name(field):
            found.append((field, True))
        elif (inner := _ours(field)) and _has_names(inner, frozenset()):
            found.append((field, False))
    return tuple(found)


def _holds_name(field: FieldDescriptor) -> bool:
    if field.type != FieldDescriptor.TYPE_STRING:
        return False
    options = field.GetOptions()
    referenced = options.Extensions[resource_pb2.resource_reference].type
    behaviors = options.Extensions[field_behavior_pb2.field_behavior]
    return bool(referenced) or field_behavior_pb2.IDENTIFIER in behaviors or field.name in _NAMES


def _ours(field: FieldDescriptor) -> Descriptor | None:
    """The message of the contracts that a field holds."""
    inner = field.message_type
    ours = inner is not None and inner.full_name.startswith(_OURS) and not inner.GetOptions().map_entry
    return inner if ours else None


def _has_names(descriptor: Descriptor, seen: frozenset[str]) -> bool:
    if descriptor.full_name in seen:
        return False
    before = seen | {descriptor.full_name}
    return any(
        _holds_name(field) or ((inner := _ours(field)) is not None and _has_names(inner, before))
        for field in descriptor.fields
    )
