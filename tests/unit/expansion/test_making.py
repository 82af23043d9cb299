"""Many at a time, and the same every time."""

import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.commands.data_expand import wishes
from cli.expansion.asking import seed_of
from cli.expansion.making import ATTEMPTS, Askers, Maker, Offer, Wish, make
from cli.expansion.rules import Rejection, prompt_key
from cli.expansion.sources import Expansion, Rows
from services.common.errors import DomainError, Reason
from services.common.rows.content import content_digest
from tests.unit.expansion.rows import alpaca, read


class Words:
    """Stands in for a model: an answer that follows from what is asked, after a time that does not."""

    def __init__(self, answer: Callable[[int], str], slow: float = 0.0) -> None:
        self.stopped = threading.Event()
        self.asked: list[int] = []
        self._answer = answer
        self._chance = random.Random(time.monotonic_ns())
        self._slow = slow

    def ask(self, question: object) -> str | Rejection:
        seed: int = question.seed  # type: ignore[attr-defined]
        self.asked.append(seed)
        if self._slow:
            time.sleep(self._chance.random() * self._slow)
        text = self._answer(seed)
        return Rejection.CUT if text == "cut" else text


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    return read(tmp_path / "rows", *(alpaca(f"Where is the {name}?", "Here.") for name in ("ape", "bee", "cat", "dog")))


def run(rows: Rows, words: Words, variants: int = 3, concurrency: int = 4, *, answers: bool = False) -> list[Offer]:
    maker = Maker(words, rows.layout, answers, 0)  # type: ignore[arg-type]  # it asks, and can be stopped
    taken = {prompt_key(row.example) for row in rows.rows}
    return list(make(wishes(Expansion(rows), variants), maker.offer, taken, concurrency))


def few(seed: int) -> str:
    """One of so few words that rows often get the same."""
    return ["cut", "", "Where is the ape?", *(f"Tell me place {chr(97 + n)}." for n in range(14))][seed % 17]


def test_the_same_comes_out_however_many_are_asked_for_at_a_time(rows: Rows) -> None:
    first = run(rows, Words(few), concurrency=1)
    assert [offer.wish.variant for offer in first] == [0, 1, 2] * 4
    told = [(offer.line, offer.rejected) for offer in first]
    assert sum(offer.rejected[Rejection.DUPLICATE] for offer in first)
    for _ in range(5):
        assert [(offer.line, offer.rejected) for offer in run(rows, Words(few, slow=0.003), concurrency=7)] == told


def test_no_two_rows_have_the_same_prompt(rows: Rows) -> None:
    made = [offer.example for offer in run(rows, Words(few)) if offer.example is not None]
    keys = [prompt_key(example) for example in made] + [prompt_key(row.example) for row in rows.rows]
    assert len(set(keys)) == len(keys) > len(rows.rows)


def test_each_variant_names_its_row_and_keeps_its_answer(rows: Rows) -> None:
    for offer in run(rows, Words(lambda seed: f"Tell me {'abcdefgh'[seed % 8]}{'abcdefgh'[seed // 8 % 8]}.")):
        assert offer.example is not None
        assert offer.example.source == offer.wish.row.digest == content_digest(offer.wish.row.example)
        assert '"output": "Here."' in offer.line


def test_answers_are_asked_for_where_wished(rows: Rows) -> None:
    made = run(rows, Words(lambda seed: f"Some text {chr(97 + seed % 26)}{chr(97 + seed // 26 % 26)}"), answers=True)
    lines = [offer.line for offer in made if offer.line]
    assert lines
    assert all('"output": "Some text ' in line for line in lines)
    # An answer that will not do costs the wording too.
    assert not any(offer.line for offer in run(rows, Words(lambda seed: "cut"), answers=True))


def test_asking_ends(rows: Rows) -> None:
    words = Words(lambda seed: "cut")
    made = run(rows, words)
    assert not any(offer.line for offer in made)
    assert {offer.rejected[Rejection.CUT] for offer in made} == {ATTEMPTS}
    assert len(words.asked) == len(set(words.asked)) == 12 * ATTEMPTS
    # What only another row rules out is asked for again as often.
    words = Words(lambda seed: "Tell me.")
    made = run(rows, words, variants=1)
    assert [bool(offer.line) for offer in made] == [True, False, False, False]
    assert [offer.rejected[Rejection.DUPLICATE] for offer in made] == [0, ATTEMPTS, ATTEMPTS, ATTEMPTS]


def test_a_model_that_does_not_answer_ends_it(rows: Rows) -> None:
    def away(seed: int) -> str:
        raise DomainError(Reason.MODEL_NOT_FOUND, "There is no such model.")

    with pytest.raises(DomainError, match="no such model"):
        run(rows, Words(away))


def test_the_threads_end(rows: Rows) -> None:
    run(rows, Words(few))
    deadline = time.monotonic() + 5
    while any(thread.name.startswith("asker") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_seeds_follow_from_row_variant_and_attempt() -> None:
    seeds = {seed_of(digest, seed, variant, attempt) for digest in (b"a" * 16, b"b" * 16) for seed in (0, 1)
             for variant in range(5) for attempt in range(4)}  # fmt: skip
    assert len(seeds) == 80
    assert all(0 <= seed < 2**63 for seed in seeds)
    # As it is in files that were made before.
    assert seed_of(bytes(16), 0, 1, 2) == 887084993269544294


def test_wishes_are_of_rows_with_a_question(rows: Rows) -> None:
    assert list(wishes(Expansion(rows), 1)) == [Wish(row, row.turn, 0) for row in rows.rows if row.turn]


@pytest.mark.timeout(30)
def test_threads_that_still_take_wishes_keep_nobody_from_leaving(rows: Rows) -> None:
    before, offer = sys.getswitchinterval(), Offer(next(wishes(Expansion(rows), 1)))
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(100):
            pool = Askers(lambda _: offer, 4)
            for _ in range(100):
                pool.submit(offer.wish)
            pool.close()
    finally:
        sys.setswitchinterval(before)
    askers = [thread for thread in threading.enumerate() if thread.name == "asker"]
    for thread in askers:
        thread.join(10)
    assert not any(thread.is_alive() for thread in askers)
