"""Threads that compute at the same time."""

import threading

import pytest
import torch

from services.trainer.recipe.training.team import Team


def test_results_come_in_the_order_of_the_items_from_threads_of_their_own() -> None:
    barrier = threading.Barrier(3)

    def work(item: int) -> tuple[int, int, int]:
        barrier.wait(10)  # passes only if all three run at the same time
        return item, threading.get_ident(), torch.get_num_threads()

    with Team(3, 1) as team:
        found = team.map(work, [1, 2, 3])
    assert [item for item, _, _ in found] == [1, 2, 3]
    assert len({thread for _, thread, _ in found}) == 3
    assert {threads for _, _, threads in found} == {1}


def test_one_member_is_the_caller() -> None:
    with Team(1, 4) as team:
        assert team.map(lambda _: threading.get_ident(), [1, 2]) == [threading.get_ident()] * 2


def test_a_failure_is_raised_when_nobody_computes_any_more() -> None:
    released, ended = threading.Event(), threading.Event()

    def work(item: int) -> None:
        if item == 1:
            released.set()
            raise ValueError("one")
        released.wait(10)
        ended.set()

    with Team(2, 1) as team, pytest.raises(ValueError, match="one"):
        team.map(work, [1, 2])
    assert ended.is_set()
