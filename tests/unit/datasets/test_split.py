"""What is held out depends on contents alone, and nothing that was made from it is learnt."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.datasets.split import Origin, held_out, held_out_count, hold_out, keep_apart, usual_fraction

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


# Few contents, so that rows are often equal, made from one another, made from themselves, or made from what is not there.
CONTENTS = st.integers(0, 11).map(lambda number: bytes([number]) * 16)
MIXED = st.lists(st.builds(Origin, CONTENTS, st.none() | CONTENTS), max_size=40)


@given(rows=MIXED, fraction=st.floats(0, 0.5))
@settings(max_examples=500, deadline=None)
def test_no_row_to_measure_on_is_synthetic_and_none_to_learn_is_made_from_one(
    rows: list[Origin], fraction: float
) -> None:
    parts = hold_out(rows, fraction)
    learnt, measured = [rows[at] for at in parts.learnt], [rows[at] for at in parts.measured]
    assert {row.source for row in measured} <= {None}
    contents = {row.content for row in measured}
    assert not contents & {row.content for row in learnt}
    assert not contents & {row.source for row in learnt}
    assert len(learnt) + len(measured) + parts.withheld == len(rows)
    # Every genuine row is on one side; synthetic ones are only withheld where something is held out.
    assert sum(row.source is None for row in learnt + measured) == sum(row.source is None for row in rows)
    assert not parts.withheld or measured
    assert learnt or not rows
    genuine = {row.content for row in rows if row.source is None}
    assert len(contents) == held_out_count(len(genuine), fraction)


@given(training=MIXED, validation=MIXED)
@settings(max_examples=500, deadline=None)
def test_the_same_of_a_validation_data_set(training: list[Origin], validation: list[Origin]) -> None:
    to_learn, to_measure = keep_apart(training, validation)
    learnt, measured = [training[at] for at in to_learn.learnt], [validation[at] for at in to_measure.measured]
    assert {row.source for row in measured} <= {None}
    contents = {row.content for row in measured}
    assert not contents & {row.content for row in learnt}
    assert not contents & {row.source for row in learnt}
    assert sum(row.source is None for row in learnt) == sum(row.source is None for row in training)
    assert to_learn.withheld == len(training) - len(learnt)
    assert to_measure.withheld == sum(row.source is not None for row in validation)


A, B, C = (bytes([number]) * 16 for number in range(3))


def test_a_variant_of_what_is_not_there_is_withheld_where_rows_are_held_out() -> None:
    """It may be of a held-out row as it was before somebody edited it."""
    rows = [Origin(A, None), Origin(B, None), Origin(C, b"x" * 16)]
    assert hold_out(rows, 0.5).withheld == 1
    assert hold_out(rows, 0).learnt == (0, 1, 2)


def test_a_variant_of_a_variant_is_withheld_where_rows_are_measured_on() -> None:
    rows = [Origin(A, None), Origin(B, A), Origin(C, B)]
    assert keep_apart(rows, [Origin(b"x" * 16, None)])[0] == ((0, 1), (), 1)


def test_a_row_that_both_sets_have_is_learnt_with_its_variants() -> None:
    learnt, measured = keep_apart([Origin(A, None), Origin(B, A)], [Origin(A, None), Origin(C, None)])
    assert (learnt.learnt, measured.measured) == ((0, 1), (1,))
