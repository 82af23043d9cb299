"""Makers of English questions and answers."""

from __future__ import annotations

import random
import string

from examples.base_models.dialogue import Dialogue, WeightedMaker, phrase
from examples.base_models.lexicon import sentences, words

_SENTENCE_SHARE = 0.3
_CODE_SHARE = 0.5
_CONSONANTS = "bdfghklmnprstvwz"
_VOWELS = "aeiouäöü"
_CODAS = ("", "n", "r", "s", "l", "rg", "st")
_ENDINGS = ("", "n", "r", "k", "burg", "bank")
_PEOPLE = ("Anna", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry")

_REPEAT = (
    ("Please repeat: {text}", "You said: {text}."),
    ("Say {text} again.", "{text}."),
    ("What did I say? I said {text}.", "You said {text}."),
)
_SWAP = (
    ("Say {one} and {two} the other way round.", "It is {two} and {one}."),
    ("What comes first, {one} or {two}?", "The first is {one}."),
    ("What comes last, {one} or {two}?", "The last is {two}."),
)
_KIND = (
    ("What is {word}?", "The {word} is a kind of {kind}."),
    ("What kind of thing is {word}?", "It is a kind of {kind}."),
)
_LIKES = (
    ("{one} likes {likes} and {two} likes {other}. What does {one} like?", "{one} likes {likes}."),
    ("{one} likes {likes} and {two} likes {other}. What does {two} like?", "{two} likes {other}."),
    ("{one} likes {likes} and {two} likes {other}. Who likes {likes}?", "{one} likes {likes}."),
)
_NUMBER = (
    ("Repeat the number {text}.", "The number is {text}."),
    ("What is {text} read backwards?", "Read backwards it is {reversed}."),
    ("What is the first digit of {text}?", "The first digit is {first}."),
    ("What is the last digit of {text}?", "The last digit is {last}."),
)
_SPELL = (
    ("How do you spell {text}?", "It is spelled {spelled}."),
    ("What is {text} backwards?", "Backwards it is {reversed}."),
    ("Which word is spelled {spelled}?", "The word is {text}."),
)
_TALK = (
    ("Hello", "Hello, I am a small language model."),
    ("Who are you?", "I am a small language model."),
    ("What can you do?", "I can answer simple questions."),
    ("Can you help me?", "Yes, please ask your question."),
    ("Thank you", "You are welcome."),
    ("Goodbye", "Goodbye, and have a nice day."),
)
_UNKNOWN = (
    ("What do you know about {text}?", "I do not know much about {text}."),
    ("What is the price of {text}?", "I do not know the price of {text}."),
    ("Where is {text}?", "I do not know where {text} is."),
)


def repeat(rng: random.Random) -> Dialogue:
    """Ask for some words or a whole sentence to be said again."""
    text = rng.choice(sentences("en")).rstrip(".") if rng.random() < _SENTENCE_SHARE else _long_text(rng)
    return phrase(rng, _REPEAT, text=text)


def swap(rng: random.Random) -> Dialogue:
    """Ask for two things in the other order, or for one of them."""
    return phrase(rng, _SWAP, one=_text(rng), two=_text(rng))


def kind(rng: random.Random) -> Dialogue:
    """Ask what kind of thing a word names."""
    word = rng.choice(words())
    return phrase(rng, _KIND, word=word.en, kind=word.kind_en)


def likes(rng: random.Random) -> Dialogue:
    """Tell two facts and ask for one of them."""
    one, two = rng.sample(_PEOPLE, 2)
    liked, other = rng.sample(words(), 2)
    return phrase(rng, _LIKES, one=one, two=two, likes=liked.en, other=other.en)


def number(rng: random.Random) -> Dialogue:
    """Ask for a number to be repeated, read backwards, or for one of its digits."""
    text = "".join(rng.choices(string.digits, k=rng.randint(3, 8)))
    return phrase(rng, _NUMBER, text=text, reversed=text[::-1], first=text[0], last=text[-1])


def spell(rng: random.Random) -> Dialogue:
    """Ask for the letters of a word or of a made-up code in capitals."""
    text = _code(rng) if rng.random() < _CODE_SHARE else rng.choice(words()).en
    return phrase(rng, _SPELL, text=text, spelled=" ".join(text), reversed=text[::-1])


def talk(rng: random.Random) -> Dialogue:
    """Say one of the fixed pleasantries."""
    return phrase(rng, _TALK)


def unknown(rng: random.Random) -> Dialogue:
    """Ask about something the model knows nothing of."""
    return phrase(rng, _UNKNOWN, text=_text(rng))


MAKERS = (
    WeightedMaker(repeat, 40),
    WeightedMaker(swap, 12),
    WeightedMaker(kind, 8),
    WeightedMaker(likes, 12),
    WeightedMaker(number, 16),
    WeightedMaker(spell, 8),
    WeightedMaker(talk, 6),
    WeightedMaker(unknown, 14),
)


def _text(rng: random.Random) -> str:
    """Answer a word of the lexicon, a made-up name, or a made-up code."""
    make = rng.choice((_word, _name, _name, _code))
    return make(rng)


def _long_text(rng: random.Random) -> str:
    """Answer two to six words and names at random: too much to guess, so it must be read."""
    return " ".join(_text(rng) for _ in range(rng.randint(2, 6)))


def _word(rng: random.Random) -> str:
    return rng.choice(words()).en


def _name(rng: random.Random) -> str:
    """Answer one or two pronounceable words in title case, such as "Tolami Brunek"."""
    return " ".join(_syllables(rng).capitalize() for _ in range(rng.randint(1, 2)))


def _syllables(rng: random.Random) -> str:
    syllables = (rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(rng.randint(2, 3)))
    return rng.choice(_CODAS).join(syllables) + rng.choice(_ENDINGS)


def _code(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_uppercase, k=rng.randint(3, 8)))
