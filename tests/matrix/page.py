"""docs/admission-matrix.md: what was tried, and where it ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

NONE: Final = "—"

INTRODUCTION: Final = """\
# Wrong pairs and right ones

Written by `tests/matrix/test_pairs.py`, which makes every pair below with transformers and PEFT on tiny bases, brings it to
`tenon verify` (offline) and to a running inference service, and fails where one of them does not end as it stands here. To
the service, pairs are brought past the registry's own checks, as if registry and artifact store were in the hands of whoever
made the pair wrong.
"""
WRONG: Final = """\
## {count} wrong pairs: none is served

*Offline* is the check of `tenon verify` that fails, and its reason; *service* the reason of the inference service, whose
engine has nothing of the adapter afterwards. A dash stands where there is nothing to tell: offline, no base is loaded and no
registry asked; the service never sees a file that no manifest lists. Where the wrong base lies in the place of the right one,
under its name, the service's reason is BASE_FINGERPRINT_MISMATCH.

The last column is what `PeftModel.from_pretrained` of PEFT {peft} does by itself with the same base and adapter, where these
are at fault: of {asked} such pairs it loads {loaded}, {silent} of them without a word. It is asked to load, not to judge: for
some of what it loads it has good use.

| what is wrong | base | offline | service | PEFT {peft} alone |
|---|---|---|---|---|
"""
RIGHT: Final = """
## {count} right pairs: none is refused

Admissible offline and served, and the logits of the service are PEFT's own on the same files. (What is declared derived is so
in a registry: offline, where none is asked, it is another base.)

| what is different | base |
|---|---|
"""


@dataclass(frozen=True)
class WrongRow:
    """A wrong pair.

    Attributes:
        case: what is wrong.
        base: architecture.
        step: the offline check that failed, or empty.
        reason: of the offline refusal, with the comparison's verdict, or empty.
        served: reason of the service, or empty.
        peft: what PEFT does, or empty where it was not asked.
    """

    case: str
    base: str
    step: str
    reason: str
    served: str
    peft: str


@dataclass(frozen=True)
class RightRow:
    """A right pair: what is different about it, and the architecture."""

    case: str
    base: str


def page(wrong: Sequence[WrongRow], right: Sequence[RightRow]) -> str:
    """The whole page."""
    asked = [row.peft for row in wrong if row.peft]
    peft = ".".join(version("peft").split(".")[:2])
    loaded, silent = sum(word.startswith("loads") for word in asked), asked.count("loads it")
    return "".join(
        [
            INTRODUCTION,
            "\n",
            WRONG.format(count=len(wrong), peft=peft, asked=len(asked), loaded=loaded, silent=silent),
            *(_line(row.case, row.base, _offline(row), row.served or NONE, row.peft or NONE) for row in wrong),
            RIGHT.format(count=len(right)),
            *(_line(row.case, row.base) for row in right),
        ]
    )


def _offline(row: WrongRow) -> str:
    return f"{row.step}: {row.reason}" if row.step else NONE


def _line(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"
