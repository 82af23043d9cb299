"""Order of rows, and how a step is cut."""

from collections import Counter

import torch
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.recipe.planning.defaults import total_steps
from services.trainer.recipe.training.batches import (
    LEAST_TOKENS,
    MOST_TOKENS,
    PieceLimits,
    batches,
    micro_batches,
    token_budget,
)
from tests.unit.recipe.conftest import labelled


@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 5), st.integers(0, 3))
def test_every_row_is_seen_once_a_pass(rows: int, batch_size: int, epochs: int, seed: int) -> None:
    order = list(batches(rows, batch_size, epochs, seed))
    assert order == list(batches(rows, batch_size, epochs, seed))
    assert len(order) == total_steps(rows, epochs, batch_size)
    assert all(len(batch) == batch_size for batch in order[:-1])
    flat = [row for batch in order for row in batch]
    for epoch in range(epochs):
        assert Counter(flat[epoch * rows : (epoch + 1) * rows]) == Counter(range(rows))


def test_each_pass_and_each_seed_has_its_own_order() -> None:
    (first,), (second,) = batches(50, 50, 1, 0), batches(50, 50, 1, 1)
    assert first != second
    one, two = batches(50, 50, 2, 0)
    assert one != two


def test_rows_are_padded_and_their_labels_shifted() -> None:
    (batch,) = micro_batches(labelled(([5, 6, 7], 1), ([8, 9], 1)), PieceLimits(100, 1))
    assert batch.token_ids.tolist() == [[5, 6, 7], [8, 9, 0]]
    assert batch.supervised.tolist() == [0, 1, 3]
    assert batch.positions is None
    assert batch.targets.tolist() == [6, 7, 9]
    assert batch.tokens == 5


@given(st.lists(st.integers(2, 30), min_size=1, max_size=20), st.integers(2, 60), st.integers(0, 40))
def test_pieces_keep_within_the_limits_and_lose_nothing(lengths: list[int], budget: int, padding: int) -> None:
    rows = labelled(*((list(range(1, length + 1)), length // 2) for length in lengths))
    pieces = micro_batches(rows, PieceLimits(budget, padding))
    for piece in pieces:
        assert piece.token_ids.numel() <= budget or len(piece.token_ids) == 1
        assert piece.token_ids.numel() - piece.tokens <= padding
    assert sum(piece.tokens for piece in pieces) == sum(lengths)
    targets = torch.cat([piece.targets for piece in pieces])
    assert len(targets) == sum(row.supervised for row in rows)


def test_packed_rows_lie_one_behind_the_other() -> None:
    (batch,) = micro_batches(labelled(([8, 9], 1), ([5, 6, 7], 1)), PieceLimits(100, 0, packed=True))
    assert batch.token_ids.tolist() == [[5, 6, 7, 8, 9]]
    assert batch.positions is not None
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1]]
    assert batch.lengths == (3, 2)
    assert batch.supervised.tolist() == [0, 1, 3]
    assert batch.targets.tolist() == [6, 7, 9]


@given(st.lists(st.integers(2, 30), min_size=1, max_size=20), st.integers(2, 60), st.integers(1, 4))
def test_packed_pieces_are_alike_and_lose_nothing(lengths: list[int], budget: int, members: int) -> None:
    rows = labelled(*((list(range(1, length + 1)), length // 2) for length in lengths))
    pieces = micro_batches(rows, PieceLimits(budget, 0, packed=True, members=members))
    assert sum(piece.tokens for piece in pieces) == sum(lengths)
    assert sorted(length for piece in pieces for length in piece.lengths) == sorted(lengths)
    assert all(piece.tokens <= budget or len(piece.lengths) == 1 for piece in pieces)
    assert len(pieces) % members == 0 or len(pieces) == len(rows)
    assert max(piece.tokens for piece in pieces) - min(piece.tokens for piece in pieces) <= max(lengths)


def test_the_budget_follows_the_size_of_the_base() -> None:
    assert token_budget(64, 2, 320, 2 << 30) == MOST_TOKENS
    assert LEAST_TOKENS < token_budget(896, 24, 151_936, 2 << 30) < 1024
    assert token_budget(8192, 80, 151_936, 2 << 30) == LEAST_TOKENS
