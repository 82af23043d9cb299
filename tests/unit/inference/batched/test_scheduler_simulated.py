"""Any traffic at all: what holds after every step (``Desk.check``), and that everybody comes to an end."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.engine.batched.rows import Row
from tests.unit.inference.batched.desk import CountingRoom, Desk

LONGEST = 60

rows = st.fixed_dictionaries(
    {
        "prompt": st.integers(1, 40),
        "answer": st.integers(1, LONGEST - 40),
        "adapter": st.sampled_from([None, "a", "b", "c"]),
        "project": st.sampled_from(["one", "two", "three"]),
    }
)
# How many steps pass before a row comes, and after how many more its caller leaves.
arrivals = st.lists(st.tuples(st.integers(0, 8), rows, st.none() | st.integers(0, 40)), max_size=40)
rooms = st.builds(
    CountingRoom, positions=st.integers(LONGEST, 6 * LONGEST), slots=st.integers(1, 4), remembers=st.booleans()
)


@given(arrivals, rooms, st.integers(1, 8), st.sampled_from([0.0, 0.05, 0.5]))
def test_everybody_comes_to_an_end(
    arrivals: list[tuple[int, dict[str, int], int | None]], room: CountingRoom, max_rows: int, patience: float
) -> None:
    desk = Desk(room, max_rows=max_rows, patience=patience)
    asked: list[Row] = []
    leaves: dict[int, list[Row]] = {}

    def step() -> None:
        for row in leaves.pop(desk.steps, []):
            row.abandoned = True
        desk.step()

    for pause, described, stays in arrivals:
        for _ in range(pause):
            step()
        row = desk.ask(**described)  # type: ignore[arg-type]
        asked.append(row)
        if stays is not None:
            leaves.setdefault(desk.steps + stays, []).append(row)
    # Were rows computed one after the other, with nothing kept, and each thrown out at every one of its tokens:
    bound = desk.steps + sum(row.request.max_tokens * (len(row.request.token_ids) // 16 + 4) for row in asked) + 50
    while desk.live:
        assert desk.steps < bound
        step()
    assert desk.room.used == {}
    assert (desk.scheduler.waiting, desk.scheduler.running) == (0, 0)
    for row in asked:
        assert row.abandoned or row.answered == row.request.max_tokens
    assert len(desk.log.waits) >= len(desk.done)
    assert len(desk.log.waits) <= len(asked)


@given(st.integers(0, 10**6), st.booleans())
def test_nobody_waits_for_ever_beside_endless_traffic(seed: int, large: bool) -> None:
    chance = random.Random(seed)
    desk = Desk(CountingRoom(400, slots=3), max_rows=8)
    for _ in range(300):
        while desk.scheduler.waiting < 6:
            desk.ask(
                prompt=chance.randint(1, 60),
                answer=chance.randint(1, 40),
                adapter=chance.choice("abc"),
                project=chance.choice(["one", "two"]),
            )
        desk.step()
    row = desk.ask(prompt=350 if large else 5, answer=20, adapter="d", project="three")
    for _ in range(3000):
        while desk.scheduler.waiting < 6:
            desk.ask(prompt=chance.randint(1, 60), answer=chance.randint(1, 40), adapter=chance.choice("abc"))
        desk.step()
        if row in desk.done:
            break
    assert desk.done[row] - row.arrived < 10.0


@pytest.mark.parametrize("positions", [3000, 30_000, 10**9], ids=["little memory", "enough", "plenty"])
def test_a_thousand_at_once(positions: int) -> None:
    chance = random.Random(1)
    desk = Desk(CountingRoom(positions, remembers=True))
    asked = [
        desk.ask(
            prompt=chance.randint(1, 300),
            answer=chance.randint(1, 60),
            adapter=chance.choice("abcdefgh"),
            project=chance.choice(["one", "two", "three"]),
        )
        for _ in range(1000)
    ]
    for row in chance.sample(asked, 100):
        row.abandoned = True
    desk.run()
    assert len(desk.done) == 900
    prompts = sum(len(row.request.token_ids) for row in desk.done)
    assert desk.prefilled < 1.1 * prompts
