"""What the command line says of a name that a suite does not know."""

from collections.abc import Iterator
from typing import Any

import pytest

from cli.names import advice
from services.common.errors import DomainError, Reason

NAMES = {
    "/v1/base_models": ["qwen2-small", "gpt2-tiny"],
    "/v1/adapters": ["wukong", "monkey-king"],
    "/v1/fine_tuning/jobs": ["ftjob-41b52cdb302057e2e3b58581", "ftjob-b351507a43040a68fc35d209"],
}


class Listing:
    """A suite that has these names and no other."""

    def listed(self, path: str, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        yield from ({"id": name} for name in NAMES[path])

    listed_as_openai = listed


class Closed(Listing):
    """A suite whose lists this key may not read."""

    def listed(self, path: str, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        raise DomainError(Reason.PERMISSION_DENIED, "no")


@pytest.mark.parametrize(
    ("reason", "field", "name", "said"),
    [
        (Reason.ADAPTER_NOT_FOUND, "adapter", "projects/p/adapters/wukng", "Did you mean wukong?"),
        (Reason.ADAPTER_NOT_FOUND, "adapter", "projects/p/adapters/x", "`tenon adapter list` shows what there is."),
        (Reason.BASE_MODEL_NOT_FOUND, "base_model", "baseModels/qwen2-smal", "Did you mean qwen2-small?"),
        (Reason.MODEL_NOT_FOUND, "model", "monkeyking", "Did you mean monkey-king?"),
        (Reason.MODEL_NOT_FOUND, "model", "gpt2-tny", "Did you mean gpt2-tiny?"),
        (
            Reason.TRAINING_JOB_NOT_FOUND,
            "training_job",
            "projects/p/trainingJobs/ftjob-41b52cdb302057e2e3b5858",
            "Did you mean ftjob-41b52cdb302057e2e3b58581?",
        ),
        (
            Reason.TRAINING_JOB_NOT_FOUND,
            "training_job",
            "projects/p/trainingJobs/ftjob-ffffffffffffffffffffffff",
            "`tenon job list` shows what there is.",
        ),
        (Reason.ADAPTER_BASE_MISMATCH, "adapter", "wukng", ""),
    ],
)
def test_the_nearest_name_or_the_list(reason: Reason, field: str, name: str, said: str) -> None:
    assert advice(Listing(), DomainError(reason, "x", {field: name})) == said


def test_without_leave_to_list_it_is_the_list() -> None:
    error = DomainError(Reason.ADAPTER_NOT_FOUND, "x", {"adapter": "projects/p/adapters/wukng"})
    assert advice(Closed(), error) == "`tenon adapter list` shows what there is."
