"""The two ways a data set is read: to be judged, and to be learnt."""

from collections.abc import Iterator
from pathlib import Path

from services.trainer.datasets.model import Conversation, DatasetFormat, Fault, Limits, Summary, TextPair


def check_dataset(path: Path, format: DatasetFormat | None, limits: Limits) -> Iterator[Fault | Summary]:  # noqa: A002 - the field's name everywhere
    """Yield every fault of a file as it is found, and last a Summary."""
    raise NotImplementedError


def read_conversations(path: Path, format: DatasetFormat) -> Iterator[Conversation | TextPair]:  # noqa: A002 - see above
    """Yield the rows of a file that ``check_dataset`` found no fault in."""
    raise NotImplementedError
