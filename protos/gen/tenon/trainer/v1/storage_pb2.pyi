from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class CollectGarbageRequest(_message.Message):
    __slots__ = ("dry_run",)
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    dry_run: bool
    def __init__(self, dry_run: _Optional[bool] = ...) -> None: ...

class CollectGarbageResponse(_message.Message):
    __slots__ = ("blob_count", "size_bytes", "collected_count", "collected_bytes")
    BLOB_COUNT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    COLLECTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    COLLECTED_BYTES_FIELD_NUMBER: _ClassVar[int]
    blob_count: int
    size_bytes: int
    collected_count: int
    collected_bytes: int
    def __init__(self, blob_count: _Optional[int] = ..., size_bytes: _Optional[int] = ..., collected_count: _Optional[int] = ..., collected_bytes: _Optional[int] = ...) -> None: ...
