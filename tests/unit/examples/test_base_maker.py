"""The maker of bases, short of training: tokenizers, templates, layout, and when a base is made anew."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from examples.base_models import build
from examples.base_models.dialogue import Dialogue
from examples.base_models.recipe import GPT2, QWEN2, RECIPES, BaseRecipe, FamilyRecipe, recipe_digest
from examples.base_models.tokenizer import train_tokenizer
from examples.base_models.training import encode

SENTENCES = ("你好，我是一个小小的语言模型。", "The bank code is 20050550.", "鑫龘 Überlingen\n7")


def tokenizer_of(family: FamilyRecipe) -> PreTrainedTokenizerFast:
    return train_tokenizer(family.tokenizer, SENTENCES, context_length=64)


def without_training(recipe: BaseRecipe) -> BaseRecipe:
    family = dataclasses.replace(recipe.family, chinese_rows=0, english_rows=20)
    return dataclasses.replace(recipe, family=family, training=dataclasses.replace(recipe.training, steps=0))


def text_of(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids)))


def quiet(_line: str) -> None:
    pass


@pytest.mark.parametrize("family", [QWEN2, GPT2], ids=["qwen2", "gpt2"])
@pytest.mark.parametrize("sentence", SENTENCES)
def test_any_text_survives_the_tokenizer(family: FamilyRecipe, sentence: str) -> None:
    tokenizer = tokenizer_of(family)
    assert text_of(tokenizer, tokenizer(sentence)["input_ids"]) == sentence


@pytest.mark.parametrize("family", [QWEN2, GPT2], ids=["qwen2", "gpt2"])
def test_the_prompt_is_a_prefix_and_the_end_of_turn_is_learned(family: FamilyRecipe) -> None:
    tokenizer = tokenizer_of(family)
    [row] = encode(tokenizer, [Dialogue("Who?", "The bank.")])
    prompt, answer = row.ids[: row.prompt_length], row.ids[row.prompt_length :]
    whole = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "The bank."}], tokenize=False
    )
    assert str(whole).startswith(text_of(tokenizer, row.ids))
    assert text_of(tokenizer, prompt).endswith("\n")
    assert text_of(tokenizer, answer) == f"The bank.{tokenizer.eos_token}"
    assert answer[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_base_has_between_a_half_and_four_million_parameters(recipe: BaseRecipe) -> None:
    with torch.device("meta"):
        model = build.new_model(recipe, tokenizer_of(recipe.family))
        model.resize_token_embeddings(recipe.family.tokenizer.vocabulary_size, mean_resizing=False)
    assert 5e5 < model.num_parameters() < 4e6


def test_a_base_is_complete_and_made_once(tmp_path: Path) -> None:
    recipe = without_training(RECIPES[0])
    build.ensure(tmp_path, [recipe], quiet)
    made = tmp_path / recipe.name
    assert {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json"} <= {
        file.name for file in made.iterdir()
    }
    before = (made / "model.safetensors").stat().st_ino
    build.ensure(tmp_path, [recipe], quiet)
    assert (made / "model.safetensors").stat().st_ino == before


def test_the_tokenizer_file_alone_is_the_whole_tokenizer(tmp_path: Path) -> None:
    recipe = without_training(RECIPES[0])
    build.ensure(tmp_path, [recipe], quiet)
    alone = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        tokenizer_file=str(tmp_path / recipe.name / "tokenizer.json")
    )
    tokens = alone.convert_ids_to_tokens(alone("<|im_start|>user\n12<|im_end|>")["input_ids"])
    assert tokens[0] == "<|im_start|>"
    assert tokens[-3:] == ["1", "2", "<|im_end|>"]


def test_the_same_recipe_gives_the_same_bytes(tmp_path: Path) -> None:
    training = dataclasses.replace(RECIPES[2].training, steps=2, warmup_steps=1)
    recipe = dataclasses.replace(without_training(RECIPES[2]), training=training)
    for name in ("one", "two"):
        build.ensure(tmp_path / name, [recipe], quiet)
    one, two = ((tmp_path / name / recipe.name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_changed_recipe_or_an_unfinished_base_is_made_anew(tmp_path: Path) -> None:
    recipe = without_training(RECIPES[2])
    build.ensure(tmp_path, [recipe], quiet)
    changed = dataclasses.replace(recipe, context_length=recipe.context_length // 2)
    assert recipe_digest(changed) != recipe_digest(recipe)
    assert build.is_current(tmp_path / recipe.name, recipe)
    assert not build.is_current(tmp_path / recipe.name, changed)
    (tmp_path / f".unfinished-{recipe.name}").mkdir()
    build.ensure(tmp_path, [changed], quiet)
    assert json.loads((tmp_path / recipe.name / "config.json").read_text())["n_positions"] == changed.context_length
    assert not list(tmp_path.glob(".unfinished-*"))
