"""What a model is asked, and what of its answer is the text that was asked for."""

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from cli.client import Suite
from cli.expansion.rules import Rejection, longest
from cli.expansion.turns import Turn
from cli.progress import AWAY, RECONNECT_SECONDS
from services.common.errors import DomainError, Reason

REWORD: Final = (
    "Write the text between <text> and </text> in other words. Keep its meaning, its language, and every name and number. "
    "{manner}Answer with the new wording and nothing else."
)

MANNERS: Final = (
    "",
    "Be brief. ",
    "Write as people speak. ",
    "Be polite. ",
    "Begin with another word. ",
    "Be more explicit. ",
)
"""What the variants of a row are asked for in turn, so that they differ."""

REANSWER: Final = (
    "Below are a question, its answer, and the question in other words. Answer the latter as the answer does: the same "
    "facts, the same voice, the same language. Write that answer and nothing else."
)

SPARE_TOKENS: Final = 32
RETRY_SECONDS: Final = 1.0

_THOUGHT: Final = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_WRAPPED: Final = re.compile(r"\A<(text|answer)>\s*(.*?)\s*(?:</\1>.*)?\Z", re.DOTALL)
_QUOTES: Final = ('""', "''", "“”", "„“", "«»", "「」", "``")
_WAITED_FOR: Final = AWAY | {Reason.QUEUE_FULL, Reason.ARTIFACT_STORE_UNAVAILABLE}


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked.

    Attributes:
        told: what it is to do.
        shown: what to do it with.
        of: the text that it writes another of.
        seed: of its answer.
    """

    told: str
    shown: str
    of: str
    seed: int


def reword(turn: Turn, variant: int, seed: int) -> Question:
    """Ask for another wording of a question."""
    told = REWORD.format(manner=MANNERS[variant % len(MANNERS)])
    return Question(told, f"<text>{turn.question}</text>", turn.question, seed)


def reanswer(turn: Turn, question: str, seed: int) -> Question:
    """Ask for another answer, to another wording of its question."""
    shown = f"<question>{turn.question}</question>\n<answer>{turn.answer}</answer>\n<question>{question}</question>"
    return Question(REANSWER, shown, turn.answer, seed)


def seed_of(digest: bytes, *numbers: int) -> int:
    """A seed of 63 bits that follows from a row and numbers: the same for the same, unrelated for others."""
    text = digest + b"".join(number.to_bytes(8, "big", signed=True) for number in numbers)
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks one model of a suite.

    Attributes:
        suite: where it answers.
        model: as requests name it.
        temperature: of its answers.
        stopped: set where nobody waits for answers any more.
    """

    suite: Suite
    model: str
    temperature: float
    stopped: threading.Event

    def greet(self) -> None:
        """Have the model loaded, and find out whether it answers at all.

        Raises:
            DomainError: why it does not.
        """
        greeting = [{"role": "user", "content": "Hello"}]
        self.suite.post("/v1/chat/completions", {"model": self.model, "messages": greeting, "max_tokens": 1})

    def ask(self, question: Question) -> str | Rejection:
        """Ask, and wait for a suite that is away or busy.

        Raises:
            DomainError: why there is no answer; SERVICE_UNAVAILABLE and its like after RECONNECT_SECONDS.
        """
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": f"{question.told}\n\n{question.shown}"}],
            "temperature": self.temperature,
            "seed": question.seed,
            # At least one token a character in the scripts whose texts are short.
            "max_tokens": longest(question.of) + SPARE_TOKENS,
        }
        try:
            answer = self._post(body)
        except DomainError as error:
            if error.reason is not Reason.CONTEXT_LENGTH_EXCEEDED:
                raise
            try:
                # Then as long as the context leaves.
                answer = self._post({key: value for key, value in body.items() if key != "max_tokens"})
            except DomainError as again:
                if again.reason is not Reason.CONTEXT_LENGTH_EXCEEDED:
                    raise
                return Rejection.CONTEXT
        choice = answer["choices"][0]
        return Rejection.CUT if choice["finish_reason"] == "length" else bare(choice["message"]["content"], question.of)

    def _post(self, body: Mapping[str, Any]) -> dict[str, Any]:
        deadline = time.monotonic() + RECONNECT_SECONDS
        while True:
            try:
                return self.suite.post("/v1/chat/completions", body)
            except DomainError as error:
                if error.reason not in _WAITED_FOR or time.monotonic() > deadline or self.stopped.is_set():
                    raise
            self.stopped.wait(RETRY_SECONDS)


def bare(text: str | None, of: str) -> str:
    """Take from a model's answer what people would leave out: thoughts, tags and quotation marks around it."""
    text = _THOUGHT.sub("", text or "").strip()
    if found := _WRAPPED.match(text):
        text = found[2]
    text = text.removesuffix("</text>").removesuffix("</answer>").strip()
    for first, last in _QUOTES:
        if len(text) > 2 and text[0] == first and text[-1] == last and of[:1] != first:
            return text[1:-1].strip()
    return text
