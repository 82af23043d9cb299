"""What is held out depends on contents alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.datasets.split import held_out, held_out_count, usual_fraction

DIGESTS = st.lists(st.binary(min_size=16, max_size=16), max_size=60)


@given(digests=DIGESTS, fraction=st.floats(0, 0.5), seed=st.integers(0, 2**53 - 1), chance=st.randoms())
@settings(max_examples=100, deadline=None)
def test_order_and_repetition_do_not_matter(digests: list[bytes], fraction: float, seed: int, chance: object) -> None:
    chosen = held_out(digests, fraction, seed)
    repeated = [*digests, *digests[::3]]
    chance.shuffle(repeated)  # type: ignore[attr-defined]
    assert held_out(repeated, fraction, seed) == chosen
    assert chosen <= set(digests)
    assert len(chosen) == held_out_count(len(set(digests)), fraction)
    assert chosen < set(digests) or not digests


@pytest.mark.parametrize(
    ("rows", "fraction", "count"),
    [(0, 0.5, 0), (1, 0.5, 0), (2, 0.5, 1), (2, 0.01, 1), (100, 0, 0), (100, 0.1, 10), (210, 0.1, 21), (3, 0.5, 2)],
)
def test_as_many_are_held_out_as_the_fraction_says(rows: int, fraction: float, count: int) -> None:
    assert held_out_count(rows, fraction) == count


def test_another_seed_holds_out_others() -> None:
    digests = [number.to_bytes(16, "big") for number in range(1000)]
    first, second = held_out(digests, 0.1, 0), held_out(digests, 0.1, 1)
    assert len(first) == len(second) == 100
    assert len(first & second) < 30


def test_most_stay_held_out_where_rows_are_added() -> None:
    digests = [number.to_bytes(16, "big") for number in range(1100)]
    before, after = held_out(digests[:1000], 0.1), held_out(digests, 0.1)
    assert len(before & after) >= 85


def test_few_rows_are_not_split_unasked() -> None:
    assert usual_fraction(49, has_validation=False) == 0
    assert usual_fraction(50, has_validation=False) == 0.1
    assert usual_fraction(5000, has_validation=True) == 0
