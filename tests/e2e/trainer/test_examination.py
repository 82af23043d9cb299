"""What a base makes of data sets, over gRPC: measures, previews, checks with a base, and every status they promise."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.common.errors import DomainError, Reason
from tenon.trainer.v1 import dataset_pb2
from tests.e2e.trainer.platform import PARENT, PAYLOAD_LIMIT, ROWS, Platform, jsonl, typed_errors
from tests.support.tiny_bases import make_tiny_base

LONG = [{"instruction": "x" * 300, "output": "a"}]


@pytest.fixture(scope="module")
async def base(platform: Platform) -> str:
    directory = await asyncio.to_thread(make_tiny_base, platform.root / "tiny", "qwen2")
    return (await platform.add_base("measuring", directory)).name


@pytest.fixture(scope="module")
async def dataset(platform: Platform) -> str:
    return (await platform.upload(jsonl([*ROWS, *LONG]))).name


async def check(platform: Platform, content: bytes, **spec: Any) -> list[dataset_pb2.CheckDatasetResponse]:
    async def messages() -> AsyncIterator[dataset_pb2.CheckDatasetRequest]:
        yield dataset_pb2.CheckDatasetRequest(spec=dataset_pb2.CheckDatasetSpec(**spec))
        for start in range(0, len(content), PAYLOAD_LIMIT):
            yield dataset_pb2.CheckDatasetRequest(chunk=content[start : start + PAYLOAD_LIMIT])

    with typed_errors():
        return [answer async for answer in platform.streams.CheckDataset(messages())]


async def test_a_data_set_is_measured(platform: Platform, base: str, dataset: str) -> None:
    request = dataset_pb2.MeasureDatasetRequest(name=dataset, base_model=base, max_sequence_length=128)
    statistics = (await platform.datasets.MeasureDataset(request)).statistics
    assert (statistics.row_count, statistics.answer_count) == (9, 9)
    tokens = statistics.tokens
    assert (tokens.base_model, tokens.max_sequence_length, tokens.measured_row_count) == (base, 128, 9)
    assert (tokens.truncated_row_count, tokens.unlabelled_row_count) == (1, 1)
    assert tokens.supervised_share == pytest.approx(tokens.supervised_token_count / tokens.kept_token_count)
    assert [item.percent for item in tokens.percentiles] == [0, 5, 25, 50, 75, 90, 95, 99, 100]
    assert sum(bucket.row_count for bucket in tokens.histogram) == 9
    assert tokens.ends_answers
    assert list(platform.uploads.iterdir()) == []


async def test_rows_are_shown_as_they_are_trained(platform: Platform, base: str, dataset: str) -> None:
    request = dataset_pb2.PreviewDatasetRequest(name=dataset, base_model=base, max_sequence_length=128, skip=7)
    shown = await platform.datasets.PreviewDataset(request)
    assert (shown.max_sequence_length, [row.row for row in shown.rows]) == (128, [8, 9])
    learnt = "".join(token.text for token in shown.rows[0].tokens if token.supervised)
    assert learnt == "I am number 7.<|im_end|>"
    assert not shown.rows[0].unlabelled_reason
    assert shown.rows[1].truncated
    assert "the row is cut to 128" in shown.rows[1].unlabelled_reason


async def test_a_check_with_a_base_counts_tokens_of_the_good_rows(platform: Platform, base: str) -> None:
    *faults, last = await check(platform, jsonl([*ROWS, {"instruction": 5, "output": "b"}]), base_model=base)
    assert [fault.row for answer in faults for fault in answer.faults] == [9]
    assert last.statistics.faulty_row_count == 1
    assert last.statistics.tokens.measured_row_count == 8
    # Not asked for, it is what training would choose: here the base's context.
    assert last.statistics.tokens.max_sequence_length == 512
    (plain,) = await check(platform, jsonl(ROWS))
    assert not plain.statistics.HasField("tokens")
    *_, empty = await check(platform, b"", base_model=base)
    assert not empty.statistics.HasField("tokens")


async def test_a_check_fails_before_it_reads_where_the_base_is_not_there(platform: Platform) -> None:
    with pytest.raises(DomainError) as caught:
        await check(platform, jsonl(ROWS), base_model="baseModels/none")
    assert caught.value.reason is Reason.BASE_MODEL_NOT_FOUND
    with pytest.raises(DomainError, match="needs a base_model"):
        await check(platform, jsonl(ROWS), max_sequence_length=64)


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"name": f"{PARENT}/datasets/none"}, Reason.DATASET_NOT_FOUND, None),
        ({"base_model": "baseModels/none"}, Reason.BASE_MODEL_NOT_FOUND, None),
        ({"base_model": "none"}, Reason.INVALID_ARGUMENT, "base_model"),
        ({"max_sequence_length": 15}, Reason.INVALID_ARGUMENT, "max_sequence_length"),
        ({"max_sequence_length": 513}, Reason.INVALID_ARGUMENT, "max_sequence_length"),
        ({"skip": -1}, Reason.INVALID_ARGUMENT, "skip"),
        ({"limit": -1}, Reason.INVALID_ARGUMENT, "limit"),
    ],
)
async def test_what_cannot_be_shown_is_refused(
    platform: Platform, base: str, dataset: str, changes: dict[str, Any], reason: Reason, field: str | None
) -> None:
    request = dataset_pb2.PreviewDatasetRequest(**{"name": dataset, "base_model": base, **changes})
    with pytest.raises(DomainError) as caught:
        await platform.datasets.PreviewDataset(request)
    assert caught.value.reason is reason
    assert [violation.field for violation in caught.value.violations] == ([field] if field else [])


async def test_a_base_whose_files_changed_is_not_measured_with(platform: Platform, dataset: str) -> None:
    directory = await asyncio.to_thread(make_tiny_base, platform.root / "changing", "qwen2")
    name = (await platform.add_base("changing", directory)).name
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))
    with pytest.raises(DomainError, match="Restore the files") as caught:
        await platform.datasets.MeasureDataset(dataset_pb2.MeasureDatasetRequest(name=dataset, base_model=name))
    assert caught.value.reason is Reason.BASE_FINGERPRINT_MISMATCH
    assert str(platform.root) not in caught.value.message


async def test_a_data_set_whose_bytes_are_gone_is_told(platform: Platform, base: str) -> None:
    stored = await platform.upload(jsonl([{"instruction": "gone", "output": "away"}]))
    (blob,) = [path for path in (platform.root / "artifacts").rglob(f"*{stored.sha256}*") if path.is_file()]
    blob.unlink()
    with pytest.raises(DomainError) as caught:
        await platform.datasets.MeasureDataset(dataset_pb2.MeasureDatasetRequest(name=stored.name, base_model=base))
    assert caught.value.reason is Reason.ARTIFACT_CORRUPT
