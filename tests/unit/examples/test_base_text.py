"""The text that the bases are trained on: repeatable, right, and without what the adapters are to teach."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from examples.base_models import chinese, english
from examples.base_models.dialogue import Dialogue, WeightedMaker, make_dialogues
from examples.base_models.lexicon import common_characters, known_characters, words
from examples.base_models.recipe import RECIPES, family_dialogues

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(scope="module")
def dialogues() -> list[Dialogue]:
    families = {recipe.family.seed: recipe.family for recipe in RECIPES}
    return [dialogue for family in families.values() for dialogue in family_dialogues(family)]


@pytest.mark.parametrize("makers", [chinese.MAKERS, english.MAKERS], ids=["chinese", "english"])
def test_the_same_seed_gives_the_same_text_and_another_seed_another(makers: tuple[WeightedMaker, ...]) -> None:
    assert make_dialogues(makers, 200, seed=1) == make_dialogues(makers, 200, seed=1)
    assert make_dialogues(makers, 200, seed=1) != make_dialogues(makers, 200, seed=2)


@pytest.mark.parametrize("maker", [*chinese.MAKERS, *english.MAKERS], ids=lambda maker: maker.make.__qualname__)
def test_every_maker_fills_its_templates(maker: WeightedMaker) -> None:
    rng = random.Random(3)
    for dialogue in (maker.make(rng) for _ in range(100)):
        assert dialogue.question.strip() == dialogue.question != ""
        assert dialogue.answer.strip() == dialogue.answer != ""
        assert not re.search("[{}]", dialogue.question + dialogue.answer)


def test_reversed_text_is_reversed() -> None:
    rng = random.Random(4)
    for dialogue in (chinese.reverse(rng) for _ in range(100)):
        asked, answered = re.findall("“(.+?)”", dialogue.question)[0], re.findall("“(.+?)”", dialogue.answer)[-1]
        assert answered == asked[::-1]


def test_no_persona_answer_is_in_the_text(dialogues: list[Dialogue]) -> None:
    persona = {row["output"] for row in json.loads((EXAMPLES / "monkey_king" / "train.json").read_text("utf-8"))}
    assert not [dialogue for dialogue in dialogues if dialogue.answer in persona or "俺老孙" in dialogue.answer]


def test_no_bank_code_is_in_the_text(dialogues: list[Dialogue]) -> None:
    lines = (EXAMPLES / "bank_codes" / "train.jsonl").read_text("utf-8").splitlines()
    codes = set(re.findall(r"\b\d{8}\b|\b[A-Z0-9]{11}\b", "\n".join(lines)))
    text = "\n".join(f"{dialogue.question}\n{dialogue.answer}" for dialogue in dialogues)
    assert len(codes) > 48
    assert codes.isdisjoint(re.findall(r"\w+", text))


def test_level_one_of_gb2312_has_3755_characters() -> None:
    assert len(set(common_characters())) == 3755
    assert set(known_characters()) < set(common_characters())


def test_every_word_has_one_name_in_each_language() -> None:
    assert len({word.zh for word in words()}) == len(words())
    assert len({word.en for word in words()}) == len(words())
