"""Names of what a suite holds: the nearest ones to a name that it does not know, and those that a shell completes."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Protocol

from services.common.errors import DomainError, Reason

_SIMILAR: Final = 0.75
"""How much of two names must be the same, of 1; ids of jobs are less alike by chance."""
_MOST: Final = 2000
"""Names to compare with."""


class Lists(Protocol):
    """Where names are listed: a suite."""

    def listed(self, path: str, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """Items of one of Tenon's own lists."""

    def listed_as_openai(self, path: str, *, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """Items of one of OpenAI's lists."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing that has names.

    Attributes:
        path: of the list of them.
        command: that lists them.
        as_openai: whether the list is one of OpenAI's.
    """

    path: str
    command: str
    as_openai: bool = False

    def names(self, suite: Lists, limit: int = _MOST) -> list[str]:
        """The first so many names that a suite lists.

        Raises:
            DomainError: as of `Suite`.
        """
        items = (
            suite.listed_as_openai(self.path, limit=limit) if self.as_openai else suite.listed(self.path, limit=limit)
        )
        return [str(item["id"]) for item in islice(items, limit)]


BASES: Final = Kind("/v1/base_models", "tenon base list")
ADAPTERS: Final = Kind("/v1/adapters", "tenon adapter list")
JOBS: Final = Kind("/v1/fine_tuning/jobs", "tenon job list", as_openai=True)
DATA: Final = Kind("/v1/files", "tenon data list", as_openai=True)
KEYS: Final = Kind("/v1/api_keys", "tenon key list")
PROJECTS: Final = Kind("/v1/projects", "tenon project list")

_UNKNOWN: Final[Mapping[Reason, tuple[str, tuple[Kind, ...], str]]] = {
    Reason.BASE_MODEL_NOT_FOUND: ("base_model", (BASES,), BASES.command),
    Reason.ADAPTER_NOT_FOUND: ("adapter", (ADAPTERS,), ADAPTERS.command),
    Reason.TRAINING_JOB_NOT_FOUND: ("training_job", (JOBS,), JOBS.command),
    Reason.DATASET_NOT_FOUND: ("dataset", (DATA,), DATA.command),
    Reason.API_KEY_NOT_FOUND: ("api_key", (KEYS,), KEYS.command),
    Reason.PROJECT_NOT_FOUND: ("project", (PROJECTS,), PROJECTS.command),
    Reason.MODEL_NOT_FOUND: ("model", (BASES, ADAPTERS), "tenon model list"),
}
"""Where an error of what is not there names it, what it could be instead, and the command that lists that."""


def advice(suite: Lists, error: DomainError) -> str:
    """What to do about a name that the suite does not know; empty for every other error."""
    if error.reason not in _UNKNOWN:
        return ""
    field, kinds, command = _UNKNOWN[error.reason]
    name = error.metadata.get(field, "").rpartition("/")[2]
    try:
        known = [known for kind in kinds for known in kind.names(suite)]
    except DomainError:
        # The error at hand says more than one about the look for help.
        known = []
    near = difflib.get_close_matches(name, known, n=2, cutoff=_SIMILAR) if name else []
    return f"Did you mean {' or '.join(near)}?" if near else f"`{command}` shows what there is."
