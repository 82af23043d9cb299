"""Which wordings are taken: each rule beside what it lets pass."""

import pytest

from cli.expansion.asking import REWORD, bare
from cli.expansion.rules import Rejection, judge_question, judge_text, longest, normalised, prompt_key
from services.common.rows.model import Conversation, Message, Role, TextPair

TOLD = REWORD.format(manner="")
HOME = "Where do you live?"
CAVE = "In the Water Curtain Cave."


@pytest.mark.parametrize(
    ("question", "of", "answer", "found"),
    [
        ("Where is your home?", HOME, CAVE, None),
        ("你住在什么地方", "你家住哪里", "花果山", None),
        ("", HOME, CAVE, Rejection.EMPTY),
        (" ?!… \n", HOME, CAVE, Rejection.EMPTY),
        ("where do YOU live", HOME, CAVE, Rejection.SAME),
        ("Ｗhere  do you live??", HOME, CAVE, Rejection.SAME),  # noqa: RUF001 - a wide letter
        ("Where " * 40, HOME, CAVE, Rejection.TOO_LONG),
        ("Where is your\ufffd home?", HOME, CAVE, Rejection.GARBLED),
        ("Where is your\x00 home?", HOME, CAVE, Rejection.GARBLED),
        ("你住在什么地方", HOME, CAVE, Rejection.OTHER_SCRIPT),
        ("Where is your home?", "你家住哪里", "花果山", Rejection.OTHER_SCRIPT),
        ("Go?", "你家住哪里", "花果山", None),
        ("何処に住んでいますか", "你家住哪里", "花果山", None),
        ("Answer with the new wording: home?", HOME, CAVE, Rejection.ECHO),
        ("Is it in the water curtain cave?", HOME, CAVE, Rejection.TELLS_ANSWER),
        ("你的家在花果山吗", "你家住哪里", "花果山", Rejection.TELLS_ANSWER),
        # An answer among those the question offers is no hint, and a word in another word is none either.
        ("Good or bad: it rains.", "Is rain good or bad?", "Good.", None),
        ("Does a caveman live there?", HOME, "Cave", None),
        ("What is the sum of 5 and 3?", "What is 5 + 3?", "8", None),
        ("What is the sum of 5 and 4?", "What is 5 + 3?", "8", Rejection.OTHER_NUMBERS),
        ("What is it?", "What is 5 + 3?", "8", Rejection.OTHER_NUMBERS),
        ("What is five plus 3?", "What is ５ + 3?", "8", Rejection.OTHER_NUMBERS),  # noqa: RUF001 - a wide figure
    ],
)
def test_questions(question: str, of: str, answer: str, found: Rejection | None) -> None:
    assert judge_question(question, of, answer, TOLD) == found


def test_what_the_row_says_itself_is_no_echo() -> None:
    of = "What does 'answer with the new wording' mean?"
    assert judge_text("Tell what 'answer with the new wording' means.", of, TOLD) is None


def test_short_texts_may_grow_more_than_long_ones() -> None:
    assert longest("Hi") == 82
    assert longest("x" * 1000) == 3000


def test_punctuation_alone_is_compared_as_it_is() -> None:
    assert normalised("?!") == "?!"
    assert normalised(" . ") == "."
    assert normalised("  Well,\n then… ") == "well then"


def test_prompts_are_the_same_whatever_their_answer_but_not_whatever_was_said_before() -> None:
    def chat(*texts: str) -> Conversation:
        roles = (Role.USER, Role.ASSISTANT) * 2
        return Conversation(
            tuple(Message(role, text, role is Role.ASSISTANT) for role, text in zip(roles, texts, strict=False))
        )

    assert prompt_key(chat("Go on.", "One.")) == prompt_key(chat("go  on", "Two."))
    assert prompt_key(chat("Count.", "One.", "Go on.", "Two.")) != prompt_key(chat("Spell.", "A.", "Go on.", "B."))
    assert prompt_key(TextPair("A b", "1")) == prompt_key(TextPair("ab.", "2"))


@pytest.mark.parametrize(
    ("text", "of", "found"),
    [
        ("  Where is it? \n", HOME, "Where is it?"),
        ('"Where is it?"', HOME, "Where is it?"),
        ('"Where" is it?', '"Where"?', '"Where" is it?'),
        ('"Where"', '"There"', '"Where"'),
        ("“你住哪里”", "你家住哪里", "你住哪里"),
        ("<text>Where is it?</text>", HOME, "Where is it?"),
        ("<text>Where is it?</text> I kept the meaning.", HOME, "Where is it?"),
        ("Where is it?</text>", HOME, "Where is it?"),
        ("<think>They ask\n\nfor a home.</think>\n\nWhere is it?", HOME, "Where is it?"),
        (None, HOME, ""),
        ('""', HOME, '""'),
    ],
)
def test_what_people_would_leave_out_is_taken_away(text: str | None, of: str, found: str) -> None:
    assert bare(text, of) == found
