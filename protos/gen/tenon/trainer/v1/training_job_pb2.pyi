import datetime

from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import resource_pb2 as _resource_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from tenon.trainer.v1 import training_report_pb2 as _training_report_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TrainingJob(_message.Message):
    __slots__ = ("name", "base_model", "dataset", "validation_dataset", "adapter", "hyperparameters", "labels", "state", "base_fingerprint_id", "progress", "adapter_version", "error", "create_time", "start_time", "end_time", "attempt", "etag", "validation_fraction", "priority", "plan", "force")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[TrainingJob.State]
        STATE_QUEUED: _ClassVar[TrainingJob.State]
        STATE_RUNNING: _ClassVar[TrainingJob.State]
        STATE_CANCELLING: _ClassVar[TrainingJob.State]
        STATE_SUCCEEDED: _ClassVar[TrainingJob.State]
        STATE_FAILED: _ClassVar[TrainingJob.State]
        STATE_CANCELLED: _ClassVar[TrainingJob.State]
        STATE_PAUSING: _ClassVar[TrainingJob.State]
        STATE_PAUSED: _ClassVar[TrainingJob.State]
    STATE_UNSPECIFIED: TrainingJob.State
    STATE_QUEUED: TrainingJob.State
    STATE_RUNNING: TrainingJob.State
    STATE_CANCELLING: TrainingJob.State
    STATE_SUCCEEDED: TrainingJob.State
    STATE_FAILED: TrainingJob.State
    STATE_CANCELLED: TrainingJob.State
    STATE_PAUSING: TrainingJob.State
    STATE_PAUSED: TrainingJob.State
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_DATASET_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    HYPERPARAMETERS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    BASE_FINGERPRINT_ID_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_VERSION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_FRACTION_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    base_model: str
    dataset: str
    validation_dataset: str
    adapter: str
    hyperparameters: Hyperparameters
    labels: _containers.ScalarMap[str, str]
    state: TrainingJob.State
    base_fingerprint_id: str
    progress: TrainingProgress
    adapter_version: str
    error: _status_pb2.Status
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    attempt: int
    etag: str
    validation_fraction: float
    priority: int
    plan: TrainingPlan
    force: bool
    def __init__(self, name: _Optional[str] = ..., base_model: _Optional[str] = ..., dataset: _Optional[str] = ..., validation_dataset: _Optional[str] = ..., adapter: _Optional[str] = ..., hyperparameters: _Optional[_Union[Hyperparameters, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., state: _Optional[_Union[TrainingJob.State, str]] = ..., base_fingerprint_id: _Optional[str] = ..., progress: _Optional[_Union[TrainingProgress, _Mapping]] = ..., adapter_version: _Optional[str] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempt: _Optional[int] = ..., etag: _Optional[str] = ..., validation_fraction: _Optional[float] = ..., priority: _Optional[int] = ..., plan: _Optional[_Union[TrainingPlan, _Mapping]] = ..., force: _Optional[bool] = ...) -> None: ...

class Hyperparameters(_message.Message):
    __slots__ = ("epochs", "batch_size", "learning_rate", "warmup_ratio", "schedule", "lora_rank", "lora_alpha", "target_modules", "max_sequence_length", "seed", "weight_decay", "max_gradient_norm", "early_stopping_patience", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "modules_to_save")
    class Schedule(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SCHEDULE_UNSPECIFIED: _ClassVar[Hyperparameters.Schedule]
        SCHEDULE_LINEAR: _ClassVar[Hyperparameters.Schedule]
        SCHEDULE_COSINE: _ClassVar[Hyperparameters.Schedule]
        SCHEDULE_CONSTANT: _ClassVar[Hyperparameters.Schedule]
    SCHEDULE_UNSPECIFIED: Hyperparameters.Schedule
    SCHEDULE_LINEAR: Hyperparameters.Schedule
    SCHEDULE_COSINE: Hyperparameters.Schedule
    SCHEDULE_CONSTANT: Hyperparameters.Schedule
    class RankPatternEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class AlphaPatternEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    WARMUP_RATIO_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    LORA_RANK_FIELD_NUMBER: _ClassVar[int]
    LORA_ALPHA_FIELD_NUMBER: _ClassVar[int]
    TARGET_MODULES_FIELD_NUMBER: _ClassVar[int]
    MAX_SEQUENCE_LENGTH_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_DECAY_FIELD_NUMBER: _ClassVar[int]
    MAX_GRADIENT_NORM_FIELD_NUMBER: _ClassVar[int]
    EARLY_STOPPING_PATIENCE_FIELD_NUMBER: _ClassVar[int]
    USE_RSLORA_FIELD_NUMBER: _ClassVar[int]
    USE_DORA_FIELD_NUMBER: _ClassVar[int]
    RANK_PATTERN_FIELD_NUMBER: _ClassVar[int]
    ALPHA_PATTERN_FIELD_NUMBER: _ClassVar[int]
    MODULES_TO_SAVE_FIELD_NUMBER: _ClassVar[int]
    epochs: int
    batch_size: int
    learning_rate: float
    warmup_ratio: float
    schedule: Hyperparameters.Schedule
    lora_rank: int
    lora_alpha: float
    target_modules: _containers.RepeatedScalarFieldContainer[str]
    max_sequence_length: int
    seed: int
    weight_decay: float
    max_gradient_norm: float
    early_stopping_patience: int
    use_rslora: bool
    use_dora: bool
    rank_pattern: _containers.ScalarMap[str, int]
    alpha_pattern: _containers.ScalarMap[str, float]
    modules_to_save: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, epochs: _Optional[int] = ..., batch_size: _Optional[int] = ..., learning_rate: _Optional[float] = ..., warmup_ratio: _Optional[float] = ..., schedule: _Optional[_Union[Hyperparameters.Schedule, str]] = ..., lora_rank: _Optional[int] = ..., lora_alpha: _Optional[float] = ..., target_modules: _Optional[_Iterable[str]] = ..., max_sequence_length: _Optional[int] = ..., seed: _Optional[int] = ..., weight_decay: _Optional[float] = ..., max_gradient_norm: _Optional[float] = ..., early_stopping_patience: _Optional[int] = ..., use_rslora: _Optional[bool] = ..., use_dora: _Optional[bool] = ..., rank_pattern: _Optional[_Mapping[str, int]] = ..., alpha_pattern: _Optional[_Mapping[str, float]] = ..., modules_to_save: _Optional[_Iterable[str]] = ...) -> None: ...

class TrainingProgress(_message.Message):
    __slots__ = ("step", "total_steps", "loss", "trained_tokens")
    STEP_FIELD_NUMBER: _ClassVar[int]
    TOTAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    TRAINED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    step: int
    total_steps: int
    loss: float
    trained_tokens: int
    def __init__(self, step: _Optional[int] = ..., total_steps: _Optional[int] = ..., loss: _Optional[float] = ..., trained_tokens: _Optional[int] = ...) -> None: ...

class TrainingFinding(_message.Message):
    __slots__ = ("severity", "code", "text", "remedy")
    class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SEVERITY_UNSPECIFIED: _ClassVar[TrainingFinding.Severity]
        SEVERITY_INFO: _ClassVar[TrainingFinding.Severity]
        SEVERITY_WARNING: _ClassVar[TrainingFinding.Severity]
        SEVERITY_HOPELESS: _ClassVar[TrainingFinding.Severity]
    SEVERITY_UNSPECIFIED: TrainingFinding.Severity
    SEVERITY_INFO: TrainingFinding.Severity
    SEVERITY_WARNING: TrainingFinding.Severity
    SEVERITY_HOPELESS: TrainingFinding.Severity
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    severity: TrainingFinding.Severity
    code: str
    text: str
    remedy: str
    def __init__(self, severity: _Optional[_Union[TrainingFinding.Severity, str]] = ..., code: _Optional[str] = ..., text: _Optional[str] = ..., remedy: _Optional[str] = ...) -> None: ...

class TrainingPlan(_message.Message):
    __slots__ = ("hyperparameters", "steps", "rows", "validation_rows", "tokens", "supervised_tokens", "base_parameters", "lora_parameters", "memory_bytes", "memory_parts", "memory_available_bytes", "seconds", "seconds_basis", "compute", "findings", "saved_parameters")
    class MemoryPartsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class ComputeEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    HYPERPARAMETERS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_ROWS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    SUPERVISED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    BASE_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    LORA_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PARTS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_AVAILABLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_BASIS_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    SAVED_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    hyperparameters: Hyperparameters
    steps: int
    rows: int
    validation_rows: int
    tokens: int
    supervised_tokens: int
    base_parameters: int
    lora_parameters: int
    memory_bytes: int
    memory_parts: _containers.ScalarMap[str, int]
    memory_available_bytes: int
    seconds: float
    seconds_basis: str
    compute: _containers.ScalarMap[str, str]
    findings: _containers.RepeatedCompositeFieldContainer[TrainingFinding]
    saved_parameters: int
    def __init__(self, hyperparameters: _Optional[_Union[Hyperparameters, _Mapping]] = ..., steps: _Optional[int] = ..., rows: _Optional[int] = ..., validation_rows: _Optional[int] = ..., tokens: _Optional[int] = ..., supervised_tokens: _Optional[int] = ..., base_parameters: _Optional[int] = ..., lora_parameters: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., memory_parts: _Optional[_Mapping[str, int]] = ..., memory_available_bytes: _Optional[int] = ..., seconds: _Optional[float] = ..., seconds_basis: _Optional[str] = ..., compute: _Optional[_Mapping[str, str]] = ..., findings: _Optional[_Iterable[_Union[TrainingFinding, _Mapping]]] = ..., saved_parameters: _Optional[int] = ...) -> None: ...

class TrainingJobEvent(_message.Message):
    __slots__ = ("sequence", "time", "state_change", "metrics", "message", "checkpoint", "finding")
    class StateChange(_message.Message):
        __slots__ = ("state", "error")
        STATE_FIELD_NUMBER: _ClassVar[int]
        ERROR_FIELD_NUMBER: _ClassVar[int]
        state: TrainingJob.State
        error: _status_pb2.Status
        def __init__(self, state: _Optional[_Union[TrainingJob.State, str]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...
    class StepMetrics(_message.Message):
        __slots__ = ("step", "total_steps", "loss", "learning_rate", "gradient_norm", "tokens_per_second", "epoch", "trained_tokens", "validation_loss", "memory_bytes")
        STEP_FIELD_NUMBER: _ClassVar[int]
        TOTAL_STEPS_FIELD_NUMBER: _ClassVar[int]
        LOSS_FIELD_NUMBER: _ClassVar[int]
        LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
        GRADIENT_NORM_FIELD_NUMBER: _ClassVar[int]
        TOKENS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
        EPOCH_FIELD_NUMBER: _ClassVar[int]
        TRAINED_TOKENS_FIELD_NUMBER: _ClassVar[int]
        VALIDATION_LOSS_FIELD_NUMBER: _ClassVar[int]
        MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
        step: int
        total_steps: int
        loss: float
        learning_rate: float
        gradient_norm: float
        tokens_per_second: float
        epoch: float
        trained_tokens: int
        validation_loss: float
        memory_bytes: int
        def __init__(self, step: _Optional[int] = ..., total_steps: _Optional[int] = ..., loss: _Optional[float] = ..., learning_rate: _Optional[float] = ..., gradient_norm: _Optional[float] = ..., tokens_per_second: _Optional[float] = ..., epoch: _Optional[float] = ..., trained_tokens: _Optional[int] = ..., validation_loss: _Optional[float] = ..., memory_bytes: _Optional[int] = ...) -> None: ...
    class Message(_message.Message):
        __slots__ = ("level", "text")
        class Level(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
            __slots__ = ()
            LEVEL_UNSPECIFIED: _ClassVar[TrainingJobEvent.Message.Level]
            LEVEL_INFO: _ClassVar[TrainingJobEvent.Message.Level]
            LEVEL_WARNING: _ClassVar[TrainingJobEvent.Message.Level]
            LEVEL_ERROR: _ClassVar[TrainingJobEvent.Message.Level]
        LEVEL_UNSPECIFIED: TrainingJobEvent.Message.Level
        LEVEL_INFO: TrainingJobEvent.Message.Level
        LEVEL_WARNING: TrainingJobEvent.Message.Level
        LEVEL_ERROR: TrainingJobEvent.Message.Level
        LEVEL_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        level: TrainingJobEvent.Message.Level
        text: str
        def __init__(self, level: _Optional[_Union[TrainingJobEvent.Message.Level, str]] = ..., text: _Optional[str] = ...) -> None: ...
    class Checkpoint(_message.Message):
        __slots__ = ("step", "size_bytes")
        STEP_FIELD_NUMBER: _ClassVar[int]
        SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
        step: int
        size_bytes: int
        def __init__(self, step: _Optional[int] = ..., size_bytes: _Optional[int] = ...) -> None: ...
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_CHANGE_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    FINDING_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    time: _timestamp_pb2.Timestamp
    state_change: TrainingJobEvent.StateChange
    metrics: TrainingJobEvent.StepMetrics
    message: TrainingJobEvent.Message
    checkpoint: TrainingJobEvent.Checkpoint
    finding: TrainingFinding
    def __init__(self, sequence: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state_change: _Optional[_Union[TrainingJobEvent.StateChange, _Mapping]] = ..., metrics: _Optional[_Union[TrainingJobEvent.StepMetrics, _Mapping]] = ..., message: _Optional[_Union[TrainingJobEvent.Message, _Mapping]] = ..., checkpoint: _Optional[_Union[TrainingJobEvent.Checkpoint, _Mapping]] = ..., finding: _Optional[_Union[TrainingFinding, _Mapping]] = ...) -> None: ...

class TrainingJobCheckpoint(_message.Message):
    __slots__ = ("name", "step", "create_time", "metrics", "size_bytes", "stored")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    name: str
    step: int
    create_time: _timestamp_pb2.Timestamp
    metrics: TrainingJobEvent.StepMetrics
    size_bytes: int
    stored: bool
    def __init__(self, name: _Optional[str] = ..., step: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., metrics: _Optional[_Union[TrainingJobEvent.StepMetrics, _Mapping]] = ..., size_bytes: _Optional[int] = ..., stored: _Optional[bool] = ...) -> None: ...

class CreateTrainingJobRequest(_message.Message):
    __slots__ = ("parent", "training_job", "training_job_id", "request_id")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    TRAINING_JOB_FIELD_NUMBER: _ClassVar[int]
    TRAINING_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    parent: str
    training_job: TrainingJob
    training_job_id: str
    request_id: str
    def __init__(self, parent: _Optional[str] = ..., training_job: _Optional[_Union[TrainingJob, _Mapping]] = ..., training_job_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateTrainingJobResponse(_message.Message):
    __slots__ = ("training_job",)
    TRAINING_JOB_FIELD_NUMBER: _ClassVar[int]
    training_job: TrainingJob
    def __init__(self, training_job: _Optional[_Union[TrainingJob, _Mapping]] = ...) -> None: ...

class PlanTrainingJobRequest(_message.Message):
    __slots__ = ("parent", "training_job")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    TRAINING_JOB_FIELD_NUMBER: _ClassVar[int]
    parent: str
    training_job: TrainingJob
    def __init__(self, parent: _Optional[str] = ..., training_job: _Optional[_Union[TrainingJob, _Mapping]] = ...) -> None: ...

class PlanTrainingJobResponse(_message.Message):
    __slots__ = ("plan",)
    PLAN_FIELD_NUMBER: _ClassVar[int]
    plan: TrainingPlan
    def __init__(self, plan: _Optional[_Union[TrainingPlan, _Mapping]] = ...) -> None: ...

class GetTrainingReportRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetTrainingReportResponse(_message.Message):
    __slots__ = ("report",)
    REPORT_FIELD_NUMBER: _ClassVar[int]
    report: _training_report_pb2.TrainingReport
    def __init__(self, report: _Optional[_Union[_training_report_pb2.TrainingReport, _Mapping]] = ...) -> None: ...

class GetTrainingJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetTrainingJobResponse(_message.Message):
    __slots__ = ("training_job",)
    TRAINING_JOB_FIELD_NUMBER: _ClassVar[int]
    training_job: TrainingJob
    def __init__(self, training_job: _Optional[_Union[TrainingJob, _Mapping]] = ...) -> None: ...

class ListTrainingJobsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "base_model", "states")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    BASE_MODEL_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    base_model: str
    states: _containers.RepeatedScalarFieldContainer[TrainingJob.State]
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., base_model: _Optional[str] = ..., states: _Optional[_Iterable[_Union[TrainingJob.State, str]]] = ...) -> None: ...

class ListTrainingJobsResponse(_message.Message):
    __slots__ = ("training_jobs", "next_page_token")
    TRAINING_JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    training_jobs: _containers.RepeatedCompositeFieldContainer[TrainingJob]
    next_page_token: str
    def __init__(self, training_jobs: _Optional[_Iterable[_Union[TrainingJob, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CancelTrainingJobRequest(_message.Message):
    __slots__ = ("name", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class CancelTrainingJobResponse(_message.Message):
    __slots__ = ("training_job",)
    TRAINING_JOB_FIELD_NUMBER: _ClassVar[int]
    training_job: TrainingJob
    def __init__(self, training_job: _Optional[_Union[TrainingJob, _Mapping]] = ...) -> None: ...

class PauseTrainingJobRequest(_message.Message):
    __slots__ = ("name", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class PauseTrainingJobResponse(_message.Message):
    __slots__ = ("training_job",)
    TRAINING_JOB_FIELD_NUMBER: _ClassVar[int]
    training_job: TrainingJob
    def __init__(self, training_job: _Optional[_Union[TrainingJob, _Mapping]] = ...) -> None: ...

class ResumeTrainingJobRequest(_message.Message):
    __slots__ = ("name", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ResumeTrainingJobResponse(_message.Message):
    __slots__ = ("training_job",)
    TRAINING_JOB_FIELD_NUMBER: _ClassVar[int]
    training_job: TrainingJob
    def __init__(self, training_job: _Optional[_Union[TrainingJob, _Mapping]] = ...) -> None: ...

class DeleteTrainingJobRequest(_message.Message):
    __slots__ = ("name", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteTrainingJobResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListTrainingJobCheckpointsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTrainingJobCheckpointsResponse(_message.Message):
    __slots__ = ("checkpoints", "next_page_token")
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    checkpoints: _containers.RepeatedCompositeFieldContainer[TrainingJobCheckpoint]
    next_page_token: str
    def __init__(self, checkpoints: _Optional[_Iterable[_Union[TrainingJobCheckpoint, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListTrainingJobEventsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "descending")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    DESCENDING_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    descending: bool
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., descending: _Optional[bool] = ...) -> None: ...

class ListTrainingJobEventsResponse(_message.Message):
    __slots__ = ("events", "next_page_token")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[TrainingJobEvent]
    next_page_token: str
    def __init__(self, events: _Optional[_Iterable[_Union[TrainingJobEvent, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchTrainingJobRequest(_message.Message):
    __slots__ = ("name", "after_sequence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    after_sequence: int
    def __init__(self, name: _Optional[str] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class WatchTrainingJobResponse(_message.Message):
    __slots__ = ("training_job", "event", "heartbeat")
    class Heartbeat(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    TRAINING_JOB_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    training_job: TrainingJob
    event: TrainingJobEvent
    heartbeat: WatchTrainingJobResponse.Heartbeat
    def __init__(self, training_job: _Optional[_Union[TrainingJob, _Mapping]] = ..., event: _Optional[_Union[TrainingJobEvent, _Mapping]] = ..., heartbeat: _Optional[_Union[WatchTrainingJobResponse.Heartbeat, _Mapping]] = ...) -> None: ...
