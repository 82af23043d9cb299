"""How many prompt tokens go into a step."""

from collections.abc import Callable

import pytest

from services.inference.engine.batched.pace import Pace

ROWS = [1, 2, 7, 8, 33, 64, 200]


def taught(alone: Callable[[int], float], token: float, rows: int, steps: int = 40) -> Pace:
    """A pace that has seen decoding rows with and without prompts."""
    pace = Pace(slowdown=2.0)
    for step in range(steps):
        prefilled = pace.budget(rows) if step % 2 else 0
        pace.observe(rows, prefilled, alone(rows) + token * prefilled)
    return pace


def test_prompts_alone_take_whole_chunks() -> None:
    assert Pace(max_chunk=300).budget(0) == 300


@pytest.mark.parametrize("rows", ROWS)
def test_who_knows_nothing_is_careful(rows: int) -> None:
    assert Pace().budget(rows) == 16


@pytest.mark.parametrize("rows", ROWS)
def test_a_step_with_prompts_takes_twice_one_without(rows: int) -> None:
    alone = 0.008 + 0.0001 * rows
    pace = taught(lambda _: alone, 0.0002, rows)
    assert pace.budget(rows) * 0.0002 == pytest.approx(alone, rel=0.05)


@pytest.mark.parametrize(("token", "budget"), [(1.0, 16), (1e-7, 2048), (0.0, 2048)], ids=["dear", "cheap", "nothing"])
def test_it_stays_within_its_bounds(token: float, budget: int) -> None:
    assert taught(lambda _: 0.01, token, 4).budget(4) == budget


def test_each_prompt_that_waits_may_take_as_much_time() -> None:
    pace = taught(lambda _: 0.01, 0.0001, 4)
    assert pace.budget(4, 3) == pytest.approx(3 * pace.budget(4), rel=0.05)


@pytest.mark.parametrize(("token", "chunk"), [(0.001, 500), (0.1, 128), (1e-7, 2048)])
def test_no_step_takes_much_longer_than_half_a_second(token: float, chunk: int) -> None:
    pace = taught(lambda _: 0.01, token, 4)
    assert pace.budget(0) == pytest.approx(chunk, rel=0.05)
    assert pace.budget(4, 10_000) == pytest.approx(chunk, rel=0.05)


def test_a_stray_step_changes_nothing() -> None:
    pace = taught(lambda _: 0.01, 0.0002, 4)
    before = pace.budget(4)
    pace.observe(4, 0, 60.0)
    pace.observe(4, 50, 60.0)
    pace.observe(4, 50, 0.0)
    assert pace.budget(4) == pytest.approx(before, rel=0.05)


def test_a_first_step_that_takes_long_does_not_let_much_in() -> None:
    pace = Pace(slowdown=2.0)
    pace.observe(0, 512, 60.0)  # compiles, reads weights
    pace.observe(4, 0, 60.0)
    pace.observe(4, 0, 0.01)
    pace.observe(4, 16, 0.01 + 16 * 0.001)
    assert pace.budget(4) == 16


def test_it_follows_a_machine_that_becomes_slower() -> None:
    pace = taught(lambda _: 0.01, 0.0001, 4)
    assert pace.budget(4) == pytest.approx(100, rel=0.05)
    for step in range(40):
        prefilled = 20 * (step % 2)
        pace.observe(4, prefilled, 0.01 + 0.0004 * prefilled)
    assert pace.budget(4) == pytest.approx(25, rel=0.05)


def test_numbers_of_rows_that_were_never_seen_are_taken_from_fewer_rows() -> None:
    pace = taught(lambda _: 0.01, 0.0001, 8)
    assert pace.budget(40) == pace.budget(8) == pytest.approx(100, rel=0.05)


def test_or_else_in_proportion_from_more() -> None:
    pace = taught(lambda _: 0.04, 0.0001, 32)
    assert pace.budget(16) == pytest.approx(200, rel=0.05)


def test_prompts_alone_tell_what_a_token_costs_if_they_are_long() -> None:
    pace = Pace(slowdown=2.0)
    for _ in range(5):
        pace.observe(4, 0, 0.01)
        pace.observe(0, 3, 0.009)
        pace.observe(0, 500, 0.05)
    assert pace.budget(4) == pytest.approx(100, rel=0.05)


def test_steps_without_prompts_are_measured_again_when_they_have_become_rare() -> None:
    pace = taught(lambda _: 0.01, 0.0001, 4)
    budgets = []
    for _ in range(1000):
        budgets.append(pace.budget(4))
        # Rows have become longer: by itself the step takes three times as long now.
        pace.observe(4, budgets[-1], 0.03 + 0.0001 * budgets[-1])
    assert 10 <= budgets.count(0) <= 20
    assert budgets[-1] == pytest.approx(300, rel=0.1)


def test_it_never_withholds_steps_twice_running() -> None:
    pace = Pace(slowdown=2.0)
    for _ in range(200):
        pace.observe(4, 16, 0.02)
    assert pace.budget(4) == 0
    assert pace.budget(4) == 16
