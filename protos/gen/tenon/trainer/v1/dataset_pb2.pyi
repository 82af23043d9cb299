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

class DatasetFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATASET_FORMAT_UNSPECIFIED: _ClassVar[DatasetFormat]
    DATASET_FORMAT_ALPACA: _ClassVar[DatasetFormat]
    DATASET_FORMAT_SHAREGPT: _ClassVar[DatasetFormat]
    DATASET_FORMAT_OPENAI_CHAT: _ClassVar[DatasetFormat]
    DATASET_FORMAT_PROMPT_COMPLETION: _ClassVar[DatasetFormat]
DATASET_FORMAT_UNSPECIFIED: DatasetFormat
DATASET_FORMAT_ALPACA: DatasetFormat
DATASET_FORMAT_SHAREGPT: DatasetFormat
DATASET_FORMAT_OPENAI_CHAT: DatasetFormat
DATASET_FORMAT_PROMPT_COMPLETION: DatasetFormat

class Dataset(_message.Message):
    __slots__ = ("name", "display_name", "format", "size_bytes", "sha256", "statistics", "create_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    format: DatasetFormat
    size_bytes: int
    sha256: str
    statistics: DatasetStatistics
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., format: _Optional[_Union[DatasetFormat, str]] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[str] = ..., statistics: _Optional[_Union[DatasetStatistics, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DatasetStatistics(_message.Message):
    __slots__ = ("row_count", "faulty_row_count", "duplicate_row_count", "answer_count", "answer_characters", "tokens", "synthetic_row_count")
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAULTY_ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    ANSWER_COUNT_FIELD_NUMBER: _ClassVar[int]
    ANSWER_CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    SYNTHETIC_ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    row_count: int
    faulty_row_count: int
    duplicate_row_count: int
    answer_count: int
    answer_characters: int
    tokens: TokenStatistics
    synthetic_row_count: int
    def __init__(self, row_count: _Optional[int] = ..., faulty_row_count: _Optional[int] = ..., duplicate_row_count: _Optional[int] = ..., answer_count: _Optional[int] = ..., answer_characters: _Optional[int] = ..., tokens: _Optional[_Union[TokenStatistics, _Mapping]] = ..., synthetic_row_count: _Optional[int] = ...) -> None: ...

class TokenStatistics(_message.Message):
    __slots__ = ("base_model", "max_sequence_length", "measured_row_count", "token_count", "kept_token_count", "supervised_token_count", "supervised_share", "truncated_row_count", "unlabelled_row_count", "refused_row_count", "refusal", "percentiles", "histogram", "ends_answers", "uses_plain_template")
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    MAX_SEQUENCE_LENGTH_FIELD_NUMBER: _ClassVar[int]
    MEASURED_ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    KEPT_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    SUPERVISED_TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    SUPERVISED_SHARE_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNLABELLED_ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    PERCENTILES_FIELD_NUMBER: _ClassVar[int]
    HISTOGRAM_FIELD_NUMBER: _ClassVar[int]
    ENDS_ANSWERS_FIELD_NUMBER: _ClassVar[int]
    USES_PLAIN_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    base_model: str
    max_sequence_length: int
    measured_row_count: int
    token_count: int
    kept_token_count: int
    supervised_token_count: int
    supervised_share: float
    truncated_row_count: int
    unlabelled_row_count: int
    refused_row_count: int
    refusal: str
    percentiles: _containers.RepeatedCompositeFieldContainer[TokenPercentile]
    histogram: _containers.RepeatedCompositeFieldContainer[TokenBucket]
    ends_answers: bool
    uses_plain_template: bool
    def __init__(self, base_model: _Optional[str] = ..., max_sequence_length: _Optional[int] = ..., measured_row_count: _Optional[int] = ..., token_count: _Optional[int] = ..., kept_token_count: _Optional[int] = ..., supervised_token_count: _Optional[int] = ..., supervised_share: _Optional[float] = ..., truncated_row_count: _Optional[int] = ..., unlabelled_row_count: _Optional[int] = ..., refused_row_count: _Optional[int] = ..., refusal: _Optional[str] = ..., percentiles: _Optional[_Iterable[_Union[TokenPercentile, _Mapping]]] = ..., histogram: _Optional[_Iterable[_Union[TokenBucket, _Mapping]]] = ..., ends_answers: _Optional[bool] = ..., uses_plain_template: _Optional[bool] = ...) -> None: ...

class TokenPercentile(_message.Message):
    __slots__ = ("percent", "tokens")
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    percent: int
    tokens: int
    def __init__(self, percent: _Optional[int] = ..., tokens: _Optional[int] = ...) -> None: ...

class TokenBucket(_message.Message):
    __slots__ = ("first", "last", "row_count")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    row_count: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ..., row_count: _Optional[int] = ...) -> None: ...

class DatasetFault(_message.Message):
    __slots__ = ("line", "row", "field", "reason")
    LINE_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    line: int
    row: int
    field: str
    reason: str
    def __init__(self, line: _Optional[int] = ..., row: _Optional[int] = ..., field: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class DatasetUploadSpec(_message.Message):
    __slots__ = ("parent", "display_name", "format", "request_id")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    parent: str
    display_name: str
    format: DatasetFormat
    request_id: str
    def __init__(self, parent: _Optional[str] = ..., display_name: _Optional[str] = ..., format: _Optional[_Union[DatasetFormat, str]] = ..., request_id: _Optional[str] = ...) -> None: ...

class UploadDatasetRequest(_message.Message):
    __slots__ = ("spec", "chunk")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    spec: DatasetUploadSpec
    chunk: bytes
    def __init__(self, spec: _Optional[_Union[DatasetUploadSpec, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class UploadDatasetResponse(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ...) -> None: ...

class CheckDatasetSpec(_message.Message):
    __slots__ = ("format", "base_model", "max_sequence_length")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    MAX_SEQUENCE_LENGTH_FIELD_NUMBER: _ClassVar[int]
    format: DatasetFormat
    base_model: str
    max_sequence_length: int
    def __init__(self, format: _Optional[_Union[DatasetFormat, str]] = ..., base_model: _Optional[str] = ..., max_sequence_length: _Optional[int] = ...) -> None: ...

class CheckDatasetRequest(_message.Message):
    __slots__ = ("format", "chunk", "spec")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    format: DatasetFormat
    chunk: bytes
    spec: CheckDatasetSpec
    def __init__(self, format: _Optional[_Union[DatasetFormat, str]] = ..., chunk: _Optional[bytes] = ..., spec: _Optional[_Union[CheckDatasetSpec, _Mapping]] = ...) -> None: ...

class CheckDatasetResponse(_message.Message):
    __slots__ = ("faults", "statistics", "format")
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    faults: _containers.RepeatedCompositeFieldContainer[DatasetFault]
    statistics: DatasetStatistics
    format: DatasetFormat
    def __init__(self, faults: _Optional[_Iterable[_Union[DatasetFault, _Mapping]]] = ..., statistics: _Optional[_Union[DatasetStatistics, _Mapping]] = ..., format: _Optional[_Union[DatasetFormat, str]] = ...) -> None: ...

class GetDatasetRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetDatasetResponse(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ...) -> None: ...

class ListDatasetsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDatasetsResponse(_message.Message):
    __slots__ = ("datasets", "next_page_token")
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    datasets: _containers.RepeatedCompositeFieldContainer[Dataset]
    next_page_token: str
    def __init__(self, datasets: _Optional[_Iterable[_Union[Dataset, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DownloadDatasetRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DownloadDatasetResponse(_message.Message):
    __slots__ = ("chunk",)
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    def __init__(self, chunk: _Optional[bytes] = ...) -> None: ...

class MeasureDatasetRequest(_message.Message):
    __slots__ = ("name", "base_model", "max_sequence_length")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    MAX_SEQUENCE_LENGTH_FIELD_NUMBER: _ClassVar[int]
    name: str
    base_model: str
    max_sequence_length: int
    def __init__(self, name: _Optional[str] = ..., base_model: _Optional[str] = ..., max_sequence_length: _Optional[int] = ...) -> None: ...

class MeasureDatasetResponse(_message.Message):
    __slots__ = ("statistics",)
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    statistics: DatasetStatistics
    def __init__(self, statistics: _Optional[_Union[DatasetStatistics, _Mapping]] = ...) -> None: ...

class PreviewDatasetRequest(_message.Message):
    __slots__ = ("name", "base_model", "max_sequence_length", "skip", "limit")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    MAX_SEQUENCE_LENGTH_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    name: str
    base_model: str
    max_sequence_length: int
    skip: int
    limit: int
    def __init__(self, name: _Optional[str] = ..., base_model: _Optional[str] = ..., max_sequence_length: _Optional[int] = ..., skip: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class PreviewDatasetResponse(_message.Message):
    __slots__ = ("rows", "max_sequence_length", "uses_plain_template")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    MAX_SEQUENCE_LENGTH_FIELD_NUMBER: _ClassVar[int]
    USES_PLAIN_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[PreviewedRow]
    max_sequence_length: int
    uses_plain_template: bool
    def __init__(self, rows: _Optional[_Iterable[_Union[PreviewedRow, _Mapping]]] = ..., max_sequence_length: _Optional[int] = ..., uses_plain_template: _Optional[bool] = ...) -> None: ...

class PreviewedRow(_message.Message):
    __slots__ = ("row", "tokens", "truncated", "token_count", "unlabelled_reason")
    ROW_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNLABELLED_REASON_FIELD_NUMBER: _ClassVar[int]
    row: int
    tokens: _containers.RepeatedCompositeFieldContainer[PreviewedToken]
    truncated: bool
    token_count: int
    unlabelled_reason: str
    def __init__(self, row: _Optional[int] = ..., tokens: _Optional[_Iterable[_Union[PreviewedToken, _Mapping]]] = ..., truncated: _Optional[bool] = ..., token_count: _Optional[int] = ..., unlabelled_reason: _Optional[str] = ...) -> None: ...

class PreviewedToken(_message.Message):
    __slots__ = ("id", "text", "supervised")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SUPERVISED_FIELD_NUMBER: _ClassVar[int]
    id: int
    text: str
    supervised: bool
    def __init__(self, id: _Optional[int] = ..., text: _Optional[str] = ..., supervised: _Optional[bool] = ...) -> None: ...

class DeleteDatasetRequest(_message.Message):
    __slots__ = ("name", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteDatasetResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
