from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ImportAdapterRequest(_message.Message):
    __slots__ = ("start", "file", "chunk")
    START_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    start: ImportStart
    file: FileStart
    chunk: bytes
    def __init__(self, start: _Optional[_Union[ImportStart, _Mapping]] = ..., file: _Optional[_Union[FileStart, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class ImportStart(_message.Message):
    __slots__ = ("parent", "adapter_id", "base_model")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_ID_FIELD_NUMBER: _ClassVar[int]
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    parent: str
    adapter_id: str
    base_model: str
    def __init__(self, parent: _Optional[str] = ..., adapter_id: _Optional[str] = ..., base_model: _Optional[str] = ...) -> None: ...

class FileStart(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class ImportAdapterResponse(_message.Message):
    __slots__ = ("adapter_version",)
    ADAPTER_VERSION_FIELD_NUMBER: _ClassVar[int]
    adapter_version: str
    def __init__(self, adapter_version: _Optional[str] = ...) -> None: ...

class ReadAdapterFileRequest(_message.Message):
    __slots__ = ("adapter_version", "path")
    ADAPTER_VERSION_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    adapter_version: str
    path: str
    def __init__(self, adapter_version: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class ReadAdapterFileResponse(_message.Message):
    __slots__ = ("size_bytes", "chunk")
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    size_bytes: int
    chunk: bytes
    def __init__(self, size_bytes: _Optional[int] = ..., chunk: _Optional[bytes] = ...) -> None: ...
