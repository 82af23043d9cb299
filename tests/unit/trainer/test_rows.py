"""What Postgres kept before there was more to keep."""

from datetime import UTC, datetime

from services.trainer.storage.rows import dataset_from_row


def test_statistics_from_before_synthetic_rows_were_counted() -> None:
    row = {
        "project": "default",
        "dataset": "rows",
        "display_name": "rows.jsonl",
        "format": "alpaca",
        "size": 1,
        "sha256": "ab" * 32,
        "statistics": {
            "row_count": 3,
            "faulty_row_count": 0,
            "duplicate_row_count": 1,
            "answer_count": 3,
            "answer_characters": 9,
        },
        "create_time": datetime(2026, 1, 2, tzinfo=UTC),
        "position": 1,
    }
    statistics = dataset_from_row(row).statistics
    assert (statistics.row_count, statistics.synthetic_row_count) == (3, 0)
