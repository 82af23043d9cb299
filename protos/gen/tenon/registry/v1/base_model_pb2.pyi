import datetime

from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BaseModelView(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BASE_MODEL_VIEW_UNSPECIFIED: _ClassVar[BaseModelView]
    BASE_MODEL_VIEW_BASIC: _ClassVar[BaseModelView]
    BASE_MODEL_VIEW_FULL: _ClassVar[BaseModelView]
BASE_MODEL_VIEW_UNSPECIFIED: BaseModelView
BASE_MODEL_VIEW_BASIC: BaseModelView
BASE_MODEL_VIEW_FULL: BaseModelView

class BaseModel(_message.Message):
    __slots__ = ("name", "display_name", "fingerprint", "sources", "create_time", "update_time", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    fingerprint: Fingerprint
    sources: _containers.RepeatedScalarFieldContainer[str]
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    etag: str
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., fingerprint: _Optional[_Union[Fingerprint, _Mapping]] = ..., sources: _Optional[_Iterable[str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ...) -> None: ...

class Fingerprint(_message.Message):
    __slots__ = ("scheme", "id", "architecture", "model_type", "code_digest", "config_digest", "structure_root", "weights_root", "component_roots", "tokenizer_digest", "chat_template_digest", "processor_digest", "parameter_count", "derived_from", "document")
    class ComponentRootsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    MODEL_TYPE_FIELD_NUMBER: _ClassVar[int]
    CODE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CONFIG_DIGEST_FIELD_NUMBER: _ClassVar[int]
    STRUCTURE_ROOT_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_ROOT_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_ROOTS_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CHAT_TEMPLATE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PROCESSOR_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_COUNT_FIELD_NUMBER: _ClassVar[int]
    DERIVED_FROM_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    scheme: str
    id: str
    architecture: str
    model_type: str
    code_digest: str
    config_digest: str
    structure_root: str
    weights_root: str
    component_roots: _containers.ScalarMap[str, str]
    tokenizer_digest: str
    chat_template_digest: str
    processor_digest: str
    parameter_count: int
    derived_from: str
    document: bytes
    def __init__(self, scheme: _Optional[str] = ..., id: _Optional[str] = ..., architecture: _Optional[str] = ..., model_type: _Optional[str] = ..., code_digest: _Optional[str] = ..., config_digest: _Optional[str] = ..., structure_root: _Optional[str] = ..., weights_root: _Optional[str] = ..., component_roots: _Optional[_Mapping[str, str]] = ..., tokenizer_digest: _Optional[str] = ..., chat_template_digest: _Optional[str] = ..., processor_digest: _Optional[str] = ..., parameter_count: _Optional[int] = ..., derived_from: _Optional[str] = ..., document: _Optional[bytes] = ...) -> None: ...

class CreateBaseModelRequest(_message.Message):
    __slots__ = ("base_model_id", "base_model", "request_id")
    BASE_MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    base_model_id: str
    base_model: BaseModel
    request_id: str
    def __init__(self, base_model_id: _Optional[str] = ..., base_model: _Optional[_Union[BaseModel, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateBaseModelResponse(_message.Message):
    __slots__ = ("base_model",)
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    base_model: BaseModel
    def __init__(self, base_model: _Optional[_Union[BaseModel, _Mapping]] = ...) -> None: ...

class GetBaseModelRequest(_message.Message):
    __slots__ = ("name", "view")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    name: str
    view: BaseModelView
    def __init__(self, name: _Optional[str] = ..., view: _Optional[_Union[BaseModelView, str]] = ...) -> None: ...

class GetBaseModelResponse(_message.Message):
    __slots__ = ("base_model",)
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    base_model: BaseModel
    def __init__(self, base_model: _Optional[_Union[BaseModel, _Mapping]] = ...) -> None: ...

class ListBaseModelsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "fingerprint_id")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_ID_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    fingerprint_id: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., fingerprint_id: _Optional[str] = ...) -> None: ...

class ListBaseModelsResponse(_message.Message):
    __slots__ = ("base_models", "next_page_token")
    BASE_MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    base_models: _containers.RepeatedCompositeFieldContainer[BaseModel]
    next_page_token: str
    def __init__(self, base_models: _Optional[_Iterable[_Union[BaseModel, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteBaseModelRequest(_message.Message):
    __slots__ = ("name", "etag", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteBaseModelResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
