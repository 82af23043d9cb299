"""How long rows are in tokens, and how much of them is learnt: counts, percentiles, a histogram."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

PERCENTS: Final = (0, 5, 25, 50, 75, 90, 95, 99, 100)
MOST_BUCKETS: Final = 32


@dataclass(frozen=True, slots=True)
class Percentile:
    """So many percent of the rows have at most so many tokens."""

    percent: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """Rows that have ``first`` to ``last`` tokens."""

    first: int
    last: int
    row_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStatistics:
    """What a base makes of rows; the fields of ``tenon.trainer.v1.TokenStatistics``, which explains them."""

    max_sequence_length: int
    measured_row_count: int = 0
    token_count: int = 0
    kept_token_count: int = 0
    supervised_token_count: int = 0
    truncated_row_count: int = 0
    unlabelled_row_count: int = 0
    refused_row_count: int = 0
    refusal: str = ""
    percentiles: tuple[Percentile, ...] = ()
    histogram: tuple[Bucket, ...] = ()
    ends_answers: bool = False
    uses_plain_template: bool = False

    @property
    def supervised_share(self) -> float:
        """Learnt tokens by all that are read; 0 without any."""
        return self.supervised_token_count / self.kept_token_count if self.kept_token_count else 0.0


def percentiles(lengths: Sequence[int]) -> tuple[Percentile, ...]:
    """Return the length that so many percent of the rows do not exceed (nearest rank), for each of PERCENTS."""
    if not lengths:
        return ()
    ordered = sorted(lengths)
    return tuple(Percentile(percent, ordered[max(0, -(-percent * len(ordered) // 100) - 1)]) for percent in PERCENTS)


def histogram(lengths: Sequence[int]) -> tuple[Bucket, ...]:
    """Count rows by length, in at most MOST_BUCKETS buckets of equal width from the shortest row to the longest."""
    if not lengths:
        return ()
    least, most = min(lengths), max(lengths)
    width = -(-(most - least + 1) // MOST_BUCKETS)
    counts = [0] * ((most - least) // width + 1)
    for length in lengths:
        counts[(length - least) // width] += 1
    starts = range(least, most + 1, width)
    return tuple(Bucket(start, start + width - 1, count) for start, count in zip(starts, counts, strict=True))
