"""`adapters.json`: every adapter names a base that is made and a data set that is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from examples.bases import BASE_NAMES

ROOT = Path(__file__).parents[3]
ADAPTERS: list[dict[str, Any]] = json.loads((ROOT / "examples" / "adapters.json").read_text(encoding="utf-8"))
HYPERPARAMETERS = {
    "n_epochs",
    "batch_size",
    "learning_rate",
    "lora_rank",
    "lora_alpha",
    "warmup_ratio",
    "schedule",
    "max_sequence_length",
    "seed",
}


def test_every_base_gets_one_adapter() -> None:
    assert sorted(adapter["base"] for adapter in ADAPTERS) == sorted(BASE_NAMES)
    assert len({adapter["name"] for adapter in ADAPTERS}) == len(ADAPTERS)


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter["name"])
def test_the_adapter_can_be_trained(adapter: dict[str, Any]) -> None:
    assert (ROOT / adapter["dataset"]).is_file()
    assert adapter["format"] in {"alpaca", "prompt_completion"}
    assert set(adapter["hyperparameters"]) == HYPERPARAMETERS
    assert adapter["hyperparameters"]["schedule"] in {"linear", "cosine", "constant"}
