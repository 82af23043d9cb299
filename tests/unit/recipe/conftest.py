"""Tiny bases, loaded as the recipe loads them."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from services.common.bases.loader import LoadedBase, load_base
from services.common.identity import open_base
from services.trainer.datasets import Conversation, Message, Role
from services.trainer.recipe.labelling.labels import IGNORED, LabelledRow
from services.trainer.recipe.protocol import ResolvedHyperparameters, Schedule
from tests.support.tiny_bases import make_tiny_base

Load = Callable[..., LoadedBase]


@pytest.fixture(scope="module", autouse=True)
def torch_settings() -> Iterator[None]:
    """One thread, because so small a product takes longer on two; and what a run sets is set back for other tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.use_deterministic_algorithms(mode=False)


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Make a tiny base and load it; every call loads afresh, because training changes a model."""
    made: dict[tuple[Any, ...], Path] = {}

    def run(architecture: str = "qwen2", **options: Any) -> LoadedBase:
        key = (architecture, *sorted(options.items()))
        if key not in made:
            made[key] = make_tiny_base(tmp_path_factory.mktemp(architecture), architecture, **options)
        with open_base(made[key]) as opened:
            return load_base(opened)

    return run


def conversation(*turns: tuple[str, str]) -> Conversation:
    return Conversation(tuple(Message(Role(role), content, supervised=role == "assistant") for role, content in turns))


def learnt_text(base: LoadedBase, row: LabelledRow) -> list[str]:
    """The texts of each unbroken run of labels."""
    runs: list[list[int]] = [[]]
    for label in row.labels:
        if label != IGNORED:
            runs[-1].append(label)
        elif runs[-1]:
            runs.append([])
    return [str(base.tokenizer.decode(run)) for run in runs if run]


def labelled(*rows: tuple[Sequence[int], int]) -> list[LabelledRow]:
    """Rows of tokens of which all from a position on are learnt."""
    return [
        LabelledRow(array("q", ids), array("q", [IGNORED] * start + list(ids[start:])), truncated=False)
        for ids, start in rows
    ]


def make_plan(**changes: Any) -> ResolvedHyperparameters:
    settings: dict[str, Any] = {
        "epochs": 1,
        "batch_size": 2,
        "learning_rate": 1e-2,
        "warmup_ratio": 0.0,
        "schedule": Schedule.CONSTANT,
        "lora_rank": 4,
        "lora_alpha": 8.0,
        "target_modules": (),
        "max_sequence_length": 64,
        "seed": 0,
        "weight_decay": 0.0,
    }
    return ResolvedHyperparameters(**{**settings, **changes})
