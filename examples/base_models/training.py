"""A short training loop in plain PyTorch: from dialogues to a model that answers in sentences."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from examples.base_models.dialogue import Dialogue
from examples.base_models.recipe import TrainingRecipe

IGNORED = -100
_BETAS = (0.9, 0.95)
_WEIGHT_DECAY = 0.01
_GRADIENT_NORM = 1.0
_STEPS_PER_REPORT = 100
_BATCHES_PER_BUCKET = 20

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One dialogue as token ids; the first `prompt_length` of them are the question and are not learned."""

    ids: tuple[int, ...]
    prompt_length: int


def encode(tokenizer: PreTrainedTokenizerFast, dialogues: Sequence[Dialogue]) -> list[Row]:
    """Put each dialogue into the chat template; what follows the end of the turn is cut off."""
    prompts = [_render(tokenizer, dialogue.question) for dialogue in dialogues]
    texts = [
        prompt + dialogue.answer + tokenizer.eos_token for prompt, dialogue in zip(prompts, dialogues, strict=True)
    ]
    prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    text_ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [Row(tuple(ids), len(prompt)) for ids, prompt in zip(text_ids, prompt_ids, strict=True)]


def fit(model: PreTrainedModel, rows: Sequence[Row], recipe: TrainingRecipe, progress: Progress) -> float:
    """Train every weight of `model` in place for `recipe.steps` steps; answer the last loss in nats per token."""
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=_BETAS, weight_decay=_WEIGHT_DECAY, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, recipe))
    loss = torch.tensor(float("nan"))
    for step, batch in zip(range(recipe.steps), _batches(rows, recipe), strict=False):
        loss = _loss(model, *_collate(batch))
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), _GRADIENT_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if (step + 1) % _STEPS_PER_REPORT == 0:
            progress(f"step {step + 1}/{recipe.steps}, loss {loss.item():.3f}")
    model.train(mode=False)
    return float(loss.detach())


def _render(tokenizer: PreTrainedTokenizerFast, question: str) -> str:
    messages = [{"role": "user", "content": question}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def _rate(step: int, recipe: TrainingRecipe) -> float:
    """Answer the share of the learning rate at `step`: up over the warm-up, then straight down to zero."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    return (recipe.steps - step) / (recipe.steps - recipe.warmup_steps)


def _batches(rows: Sequence[Row], recipe: TrainingRecipe) -> Iterator[Sequence[Row]]:
    """Yield batches without end, each of rows of about the same length, so that little of it is padding."""
    rng = random.Random(recipe.seed)
    while True:
        shuffled = rng.sample(rows, len(rows))
        bucket = recipe.batch_size * _BATCHES_PER_BUCKET
        ordered = [
            row
            for start in range(0, len(shuffled), bucket)
            for row in sorted(shuffled[start : start + bucket], key=lambda row: len(row.ids))
        ]
        starts = range(0, len(ordered) - recipe.batch_size + 1, recipe.batch_size)
        for start in rng.sample(starts, len(starts)):
            yield ordered[start : start + recipe.batch_size]


def _collate(batch: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Answer ids and labels, both [rows, length], padded on the right, where causal attention never looks."""
    length = max(len(row.ids) for row in batch)
    ids = torch.zeros(len(batch), length, dtype=torch.long)
    labels = torch.full((len(batch), length), IGNORED)
    for index, row in enumerate(batch):
        tokens = torch.tensor(row.ids)
        ids[index, : len(tokens)] = tokens
        labels[index, row.prompt_length : len(tokens)] = tokens[row.prompt_length :]
    return ids, labels


def _loss(model: PreTrainedModel, ids: Tensor, labels: Tensor) -> Tensor:
    """Answer the mean cross-entropy over the labelled tokens, each predicted from the position before it."""
    inputs, targets = ids[:, :-1], labels[:, 1:]
    logits = model(input_ids=inputs, attention_mask=torch.ones_like(inputs)).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
