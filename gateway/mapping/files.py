"""Data sets as files."""

from types import MappingProxyType
from typing import Any, Final

from gateway.mapping.datasets import tokens_object
from gateway.mapping.times import unix
from gateway.names import base_model_name, last_part
from gateway.schemas.files import (
    CheckQuery,
    CheckSummary,
    FaultLine,
    FileExtension,
    FileObject,
    RowFault,
    Statistics,
    SummaryLine,
)
from services.common.errors import DomainError, Reason, Violation
from tenon.trainer.v1 import dataset_pb2

FORMATS: Final = MappingProxyType(
    {
        "alpaca": dataset_pb2.DATASET_FORMAT_ALPACA,
        "sharegpt": dataset_pb2.DATASET_FORMAT_SHAREGPT,
        "openai_chat": dataset_pb2.DATASET_FORMAT_OPENAI_CHAT,
        "prompt_completion": dataset_pb2.DATASET_FORMAT_PROMPT_COMPLETION,
    }
)


def format_to_proto(name: str | None) -> dataset_pb2.DatasetFormat:
    """Read a format's name; None or nothing asks for its detection.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    if not name:
        return dataset_pb2.DATASET_FORMAT_UNSPECIFIED
    if name not in FORMATS:
        text = f"is {name[:80]!r}; it must be one of {', '.join(FORMATS)}, or left out"
        raise DomainError(Reason.INVALID_ARGUMENT, f"format: {text}.", violations=[Violation("format", text)])
    return FORMATS[name]


def format_name(value: int) -> str:
    """Write a format's name; empty where there is none."""
    return next((name for name, number in FORMATS.items() if number == value), "")


def file_object(dataset: dataset_pb2.Dataset) -> FileObject:
    """Write a data set as a file."""
    return FileObject(
        id=last_part(dataset.name),
        bytes=dataset.size_bytes,
        created_at=unix(dataset.create_time),
        filename=dataset.display_name,
        tenon=FileExtension(
            format=format_name(dataset.format), sha256=dataset.sha256, statistics=statistics_object(dataset.statistics)
        ),
    )


def check_lines(message: dataset_pb2.CheckDatasetResponse) -> list[dict[str, Any]]:
    """Write what a check found since the last message, an object a line."""
    lines: list[FaultLine | SummaryLine] = [
        FaultLine(fault=RowFault(line=f.line, row=f.row, field=f.field, reason=f.reason)) for f in message.faults
    ]
    if message.HasField("statistics"):
        counts = statistics_object(message.statistics).model_dump()
        lines.append(SummaryLine(summary=CheckSummary(format=format_name(message.format), **counts)))
    return [line.model_dump() for line in lines]


def check_spec(query: CheckQuery) -> dataset_pb2.CheckDatasetSpec:
    """Read how a file is to be checked.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    return dataset_pb2.CheckDatasetSpec(
        format=format_to_proto(query.format),
        base_model=str(base_model_name(query.base_model, "base_model")) if query.base_model else "",
        max_sequence_length=query.max_sequence_length,
    )


def statistics_object(counts: dataset_pb2.DatasetStatistics) -> Statistics:
    """Write what a check counted."""
    return Statistics(
        row_count=counts.row_count,
        faulty_row_count=counts.faulty_row_count,
        duplicate_row_count=counts.duplicate_row_count,
        answer_count=counts.answer_count,
        answer_characters=counts.answer_characters,
        synthetic_row_count=counts.synthetic_row_count,
        tokens=tokens_object(counts.tokens) if counts.HasField("tokens") else None,
    )
