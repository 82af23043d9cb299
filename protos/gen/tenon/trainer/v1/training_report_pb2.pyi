from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TrainingReport(_message.Message):
    __slots__ = ("verdict", "reasons", "held_out", "trained", "curve", "layers", "end_of_turn_share", "answers", "forced")
    class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        VERDICT_UNSPECIFIED: _ClassVar[TrainingReport.Verdict]
        VERDICT_LEARNED: _ClassVar[TrainingReport.Verdict]
        VERDICT_WEAK: _ClassVar[TrainingReport.Verdict]
        VERDICT_NOT_LEARNED: _ClassVar[TrainingReport.Verdict]
        VERDICT_OVERFITTED: _ClassVar[TrainingReport.Verdict]
    VERDICT_UNSPECIFIED: TrainingReport.Verdict
    VERDICT_LEARNED: TrainingReport.Verdict
    VERDICT_WEAK: TrainingReport.Verdict
    VERDICT_NOT_LEARNED: TrainingReport.Verdict
    VERDICT_OVERFITTED: TrainingReport.Verdict
    class Measured(_message.Message):
        __slots__ = ("rows", "tokens", "base_loss", "adapter_loss", "base_accuracy", "adapter_accuracy", "error")
        ROWS_FIELD_NUMBER: _ClassVar[int]
        TOKENS_FIELD_NUMBER: _ClassVar[int]
        BASE_LOSS_FIELD_NUMBER: _ClassVar[int]
        ADAPTER_LOSS_FIELD_NUMBER: _ClassVar[int]
        BASE_ACCURACY_FIELD_NUMBER: _ClassVar[int]
        ADAPTER_ACCURACY_FIELD_NUMBER: _ClassVar[int]
        ERROR_FIELD_NUMBER: _ClassVar[int]
        rows: int
        tokens: int
        base_loss: float
        adapter_loss: float
        base_accuracy: float
        adapter_accuracy: float
        error: float
        def __init__(self, rows: _Optional[int] = ..., tokens: _Optional[int] = ..., base_loss: _Optional[float] = ..., adapter_loss: _Optional[float] = ..., base_accuracy: _Optional[float] = ..., adapter_accuracy: _Optional[float] = ..., error: _Optional[float] = ...) -> None: ...
    class LossCurve(_message.Message):
        __slots__ = ("steps", "first", "last", "window", "noise", "best_validation_loss", "last_validation_loss")
        STEPS_FIELD_NUMBER: _ClassVar[int]
        FIRST_FIELD_NUMBER: _ClassVar[int]
        LAST_FIELD_NUMBER: _ClassVar[int]
        WINDOW_FIELD_NUMBER: _ClassVar[int]
        NOISE_FIELD_NUMBER: _ClassVar[int]
        BEST_VALIDATION_LOSS_FIELD_NUMBER: _ClassVar[int]
        LAST_VALIDATION_LOSS_FIELD_NUMBER: _ClassVar[int]
        steps: int
        first: float
        last: float
        window: int
        noise: float
        best_validation_loss: float
        last_validation_loss: float
        def __init__(self, steps: _Optional[int] = ..., first: _Optional[float] = ..., last: _Optional[float] = ..., window: _Optional[int] = ..., noise: _Optional[float] = ..., best_validation_loss: _Optional[float] = ..., last_validation_loss: _Optional[float] = ...) -> None: ...
    class LayerChange(_message.Message):
        __slots__ = ("layer", "norm", "relative")
        LAYER_FIELD_NUMBER: _ClassVar[int]
        NORM_FIELD_NUMBER: _ClassVar[int]
        RELATIVE_FIELD_NUMBER: _ClassVar[int]
        layer: str
        norm: float
        relative: float
        def __init__(self, layer: _Optional[str] = ..., norm: _Optional[float] = ..., relative: _Optional[float] = ...) -> None: ...
    class SideBySide(_message.Message):
        __slots__ = ("prompt", "expected", "base", "adapter")
        PROMPT_FIELD_NUMBER: _ClassVar[int]
        EXPECTED_FIELD_NUMBER: _ClassVar[int]
        BASE_FIELD_NUMBER: _ClassVar[int]
        ADAPTER_FIELD_NUMBER: _ClassVar[int]
        prompt: str
        expected: str
        base: str
        adapter: str
        def __init__(self, prompt: _Optional[str] = ..., expected: _Optional[str] = ..., base: _Optional[str] = ..., adapter: _Optional[str] = ...) -> None: ...
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_FIELD_NUMBER: _ClassVar[int]
    TRAINED_FIELD_NUMBER: _ClassVar[int]
    CURVE_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    END_OF_TURN_SHARE_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    FORCED_FIELD_NUMBER: _ClassVar[int]
    verdict: TrainingReport.Verdict
    reasons: _containers.RepeatedScalarFieldContainer[str]
    held_out: TrainingReport.Measured
    trained: TrainingReport.Measured
    curve: TrainingReport.LossCurve
    layers: _containers.RepeatedCompositeFieldContainer[TrainingReport.LayerChange]
    end_of_turn_share: float
    answers: _containers.RepeatedCompositeFieldContainer[TrainingReport.SideBySide]
    forced: bool
    def __init__(self, verdict: _Optional[_Union[TrainingReport.Verdict, str]] = ..., reasons: _Optional[_Iterable[str]] = ..., held_out: _Optional[_Union[TrainingReport.Measured, _Mapping]] = ..., trained: _Optional[_Union[TrainingReport.Measured, _Mapping]] = ..., curve: _Optional[_Union[TrainingReport.LossCurve, _Mapping]] = ..., layers: _Optional[_Iterable[_Union[TrainingReport.LayerChange, _Mapping]]] = ..., end_of_turn_share: _Optional[float] = ..., answers: _Optional[_Iterable[_Union[TrainingReport.SideBySide, _Mapping]]] = ..., forced: _Optional[bool] = ...) -> None: ...
