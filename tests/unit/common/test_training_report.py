"""Reports are read as strictly as they are written."""

import json
from typing import Any

import pytest

from services.common.errors import DomainError, Reason
from services.common.training_report import TrainingReport, report_of
from tests.support.reports import make_report

REPORT = make_report()


def test_a_report_survives_json() -> None:
    text = json.dumps(REPORT.to_json())
    # Canonical JSON writes 1.0 as 1.
    assert TrainingReport.from_json(json.loads(text.replace("1.0,", "1,"))) == REPORT
    assert report_of({"report": REPORT.to_json()}) == REPORT
    assert report_of({"report": {**REPORT.to_json(), "of a later version": 1}}) == REPORT
    assert report_of({}) is None


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"verdict": "fine"}, "verdict"),
        ({"reasons": "none"}, "reasons"),
        ({"trained": None}, "trained"),
        ({"end_of_turn_share": "1"}, "end_of_turn_share"),
        ({"answers": [{"prompt": "a"}] * 9}, "answers"),
    ],
)
def test_what_is_no_report_is_refused(change: dict[str, Any], place: str) -> None:
    with pytest.raises(ValueError, match=place):
        TrainingReport.from_json({**REPORT.to_json(), **change})


@pytest.mark.parametrize("value", [[], 3, "report", {}])
def test_a_manifest_with_another_report_is_invalid(value: object) -> None:
    with pytest.raises(DomainError, match="in its training report") as raised:
        report_of({"report": value})
    assert raised.value.reason is Reason.MANIFEST_INVALID
