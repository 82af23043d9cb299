import pytest

from services.common.errors import DomainError
from services.trainer.catalog import uploads
from services.trainer.datasets import DatasetFormat, Fault, Statistics, Summary


def test_a_refusal_lists_the_first_faults_and_stays_small() -> None:
    faults = [Fault(n, n, "messages[1].content" * 40, "错" * 4000) for n in range(1, 21)]
    summary = Summary(DatasetFormat.OPENAI_CHAT, Statistics(faulty_row_count=20), 31)
    with pytest.raises(DomainError) as raised:
        uploads._require(summary, faults)
    error = raised.value
    assert error.metadata == {"faults": "31"}
    assert 1 <= len(error.violations) < 20
    assert sum(len(f"{v.field}{v.description}".encode()) for v in error.violations) <= 3500
    short = [Fault(n, n, "output", "It is empty.") for n in range(1, 21)]
    with pytest.raises(DomainError) as raised:
        uploads._require(summary, short)
    assert [v.field for v in raised.value.violations] == [f"line {n}, output" for n in range(1, 21)]
