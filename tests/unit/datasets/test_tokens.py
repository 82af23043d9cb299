"""Percentiles and histograms of lengths."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.trainer.datasets.tokens import MOST_BUCKETS, PERCENTS, histogram, percentiles

LENGTHS = st.lists(st.integers(0, 100_000), max_size=200)


def test_percentiles_are_lengths_of_rows() -> None:
    found = percentiles([*range(1, 101)])
    assert [item.percent for item in found] == list(PERCENTS)
    assert [item.tokens for item in found] == [1, 5, 25, 50, 75, 90, 95, 99, 100]
    assert [item.tokens for item in percentiles([7])] == [7] * len(PERCENTS)
    assert percentiles([]) == ()


@given(lengths=LENGTHS)
def test_percentiles_hold(lengths: list[int]) -> None:
    for item in percentiles(lengths):
        at_most = sum(length <= item.tokens for length in lengths)
        assert at_most * 100 >= item.percent * len(lengths)
        assert item.tokens in lengths


@given(lengths=LENGTHS)
def test_a_histogram_counts_every_row_once_and_has_no_gaps(lengths: list[int]) -> None:
    found = histogram(lengths)
    assert len(found) <= MOST_BUCKETS
    assert sum(bucket.row_count for bucket in found) == len(lengths)
    for before, bucket in pairwise(found):
        assert bucket.first == before.last + 1
    for bucket in found:
        assert bucket.row_count == sum(bucket.first <= length <= bucket.last for length in lengths)
    assert bool(found) == bool(lengths)
