"""Makes a base in a directory of its own beside its place and moves it there when it is complete."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from examples.base_models.recipe import BaseRecipe, family_dialogues, recipe_digest
from examples.base_models.tokenizer import train_tokenizer
from examples.base_models.training import Progress, encode, fit

RECIPE_FILE = "recipe.json"
# On models this small a second thread gains a third, and loses a hundredfold where it has to wait for another program;
# two bases at a time use two cores better.
_THREADS = 1
_UNFINISHED = ".unfinished-"


def is_current(directory: Path, recipe: BaseRecipe) -> bool:
    """Answer whether `directory` holds a complete base made by exactly this recipe."""
    try:
        recorded = json.loads((directory / RECIPE_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return isinstance(recorded, dict) and recorded.get("recipe_digest") == recipe_digest(recipe)


def ensure(directory: Path, recipes: Sequence[BaseRecipe], progress: Progress, *, force: bool = False) -> None:
    """Make those bases under `directory` that are missing or were made by another recipe."""
    directory.mkdir(parents=True, exist_ok=True)
    for recipe in recipes:
        with _lock(directory / f".lock-{recipe.name}"):
            if force or not is_current(directory / recipe.name, recipe):
                _replace(directory, recipe, progress)


def make_base(directory: Path, recipe: BaseRecipe, progress: Progress) -> None:
    """Write the base that `recipe` describes into the existing, empty `directory`, in Hugging Face layout."""
    with _repeatable(recipe.training.seed):
        dialogues = family_dialogues(recipe.family)
        texts = (f"{dialogue.question}\n{dialogue.answer}" for dialogue in dialogues)
        tokenizer = train_tokenizer(recipe.family.tokenizer, texts, recipe.context_length)
        model = new_model(recipe, tokenizer)
        fit(model, encode(tokenizer, dialogues), recipe.training, progress)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    _record(directory, recipe)


def new_model(recipe: BaseRecipe, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Answer the model of the recipe with random weights; torch's generator decides which."""
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    common = {"vocab_size": len(tokenizer), **recipe.config, **ids}
    model: PreTrainedModel
    if recipe.architecture == "GPT2LMHeadModel":
        model = GPT2LMHeadModel(GPT2Config(n_positions=recipe.context_length, **common))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(max_position_embeddings=recipe.context_length, **common))
    model.generation_config.do_sample = False
    return model


def _replace(directory: Path, recipe: BaseRecipe, progress: Progress) -> None:
    unfinished = directory / f"{_UNFINISHED}{recipe.name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    make_base(unfinished, recipe, lambda line: progress(f"{recipe.name}: {line}"))
    target = directory / recipe.name
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)


def _record(directory: Path, recipe: BaseRecipe) -> None:
    record = {"name": recipe.name, "recipe_digest": recipe_digest(recipe)}
    (directory / RECIPE_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a base's lock; a second process waits here and then finds the base made."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _repeatable(seed: int) -> Iterator[None]:
    """Fix torch's seed and number of threads, on both of which every weight depends; put them back afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(_THREADS)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
