"""Makes variants of many rows at a time, in an order that depends on the rows alone.

What is asked follows from row, number of the variant and attempt, and what a model answers to it from its seed. So that what is
taken follows too, whatever comes first, answers are compared with one another in the order of the rows.
"""

import json
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any, Final

from cli.expansion.asking import Asker, reanswer, reword, seed_of
from cli.expansion.rules import Rejection, judge_question, judge_text, prompt_key
from cli.expansion.sources import Row
from cli.expansion.turns import Turn, rewritten
from services.common.rows.content import SOURCE_KEY, Example
from services.common.rows.formats.fields import RowFields
from services.common.rows.model import DatasetFormat, Limits
from services.common.rows.reader import read_fields

ATTEMPTS: Final = 4
"""Times that a model is asked for one variant."""

AHEAD: Final = 4
"""Variants that are asked for before their turn, as many times as there are askers."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A variant that is not there yet.

    Attributes:
        row: of which.
        turn: what of that is reworded.
        variant: its number among those of the row, from 0.
        attempt: the one to begin with, from 0.
    """

    row: Row
    turn: Turn
    variant: int
    attempt: int = 0


@dataclass(slots=True)
class Offer:
    """What came of asking.

    Attributes:
        wish: what was wished for.
        line: the row, as JSON; empty where no attempt gave one.
        example: what it says.
        attempts: that were made, those before the wish included.
        rejected: what was not taken, by why.
    """

    wish: Wish
    line: str = ""
    example: Example | None = None
    attempts: int = 0
    rejected: Counter[Rejection] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes one variant.

    Attributes:
        asker: whom to ask.
        layout: of the rows.
        answers: whether it gets an answer of its own.
        seed: of all that is asked.
    """

    asker: Asker
    layout: DatasetFormat
    answers: bool
    seed: int

    def offer(self, wish: Wish) -> Offer:
        """Ask until a wording will do as far as its own row tells, ATTEMPTS times at most.

        Raises:
            DomainError: why the model does not answer.
        """
        offer = Offer(wish, attempts=wish.attempt)
        while offer.attempts < ATTEMPTS and not self.asker.stopped.is_set():
            made = self._attempt(wish, offer.attempts)
            offer.attempts += 1
            if not isinstance(made, Rejection):
                offer.line, offer.example = made
                return offer
            offer.rejected[made] += 1
            if made is Rejection.CONTEXT:
                break
        return offer

    def _attempt(self, wish: Wish, attempt: int) -> tuple[str, Example] | Rejection:
        row, turn = wish.row, wish.turn
        asked = reword(turn, wish.variant, seed_of(row.digest, self.seed, wish.variant, attempt, 0))
        question = self.asker.ask(asked)
        if isinstance(question, Rejection):
            return question
        if (found := judge_question(question, turn.question, turn.answer, asked.told)) is not None:
            return found
        answer: str | Rejection | None = None
        if self.answers:
            asked = reanswer(turn, question, seed_of(row.digest, self.seed, wish.variant, attempt, 1))
            answer = self.asker.ask(asked)
            if isinstance(answer, Rejection):
                return answer
            if (found := judge_text(answer, turn.answer, asked.told)) is not None:
                return found
        return self._row(row, question, answer)

    def _row(self, row: Row, question: str, answer: str | None) -> tuple[str, Example] | Rejection:
        """Write the row, and read it as training will."""
        fields = {**rewritten(row.fields, self.layout, question, answer), SOURCE_KEY: row.digest.hex()}
        read = RowFields(fields, Limits().max_messages)
        example = read_fields(read, self.layout)
        return Rejection.FAULTY if read.faults or example is None else (_line(fields), example)


def _line(fields: dict[str, Any]) -> str:
    line = json.dumps(fields, ensure_ascii=False)
    # Keys that nobody reads may hold halves of surrogate pairs, which JSON can only write as escapes.
    return line if line.isascii() or line.encode("utf-8", "ignore").decode() == line else json.dumps(fields)


def make(
    wishes: Iterable[Wish], offer: Callable[[Wish], Offer], taken: set[tuple[str, ...]], concurrency: int
) -> Iterator[Offer]:
    """Fulfil wishes, and yield what came of each, in their order.

    Args:
        wishes: in the order in which their answers are compared with one another.
        offer: asks for one; called in several threads.
        taken: ``prompt_key`` of all rows there are; those of what is made are added.
        concurrency: how many are asked for at the same time.

    Raises:
        DomainError: as ``offer``.
    """
    pool, waiting, rest = Askers(offer, concurrency), deque[Future[Offer]](), iter(wishes)
    try:
        while True:
            while len(waiting) < AHEAD * concurrency and (wish := next(rest, None)) is not None:
                waiting.append(pool.submit(wish))
            if not waiting:
                return
            yield _settle(waiting.popleft().result(), pool, taken)
    finally:
        pool.close()


def _settle(made: Offer, pool: "Askers", taken: set[tuple[str, ...]]) -> Offer:
    """Take an offer if no other row has its prompt, or ask on."""
    rejected = made.rejected
    while made.example is not None and prompt_key(made.example) in taken:
        rejected[Rejection.DUPLICATE] += 1
        made = pool.submit(replace(made.wish, attempt=made.attempts)).result()
        rejected += made.rejected
    if made.example is not None:
        taken.add(prompt_key(made.example))
    made.rejected = rejected
    return made


class Askers:
    """Threads that ask. Nobody waits for them at the end, so that Ctrl-C does not wait for answers."""

    def __init__(self, offer: Callable[[Wish], Offer], count: int) -> None:
        self._offer = offer
        self._wishes: SimpleQueue[tuple[Wish, Future[Offer]] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._run, name="asker", daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, wish: Wish) -> "Future[Offer]":
        """Ask when a thread is free."""
        future: Future[Offer] = Future()
        self._wishes.put((wish, future))
        return future

    def close(self) -> None:
        """Let the threads end after what they ask at the moment."""
        # A thread may take the last one meanwhile.
        with suppress(Empty):
            while True:
                self._wishes.get_nowait()
        for _ in self._threads:
            self._wishes.put(None)

    def _run(self) -> None:
        while (job := self._wishes.get()) is not None:
            wish, future = job
            try:
                future.set_result(self._offer(wish))
            except BaseException as error:  # noqa: BLE001 - whoever waits for it raises it
                future.set_exception(error)
