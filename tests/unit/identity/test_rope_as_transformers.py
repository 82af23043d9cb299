"""Configurations that are spelled the same must be read the same by transformers: nobody may alter a base unseen."""

import json
import random
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from services.common.identity.canonical import digest_of
from services.common.identity.config import normalize_config

LLAMA3: Final = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
PARAMETERS: Final[tuple[object, ...]] = (
    None,
    {},
    {"type": "linear", "factor": 2.0},
    {"rope_type": "linear", "factor": 2.0},
    {"rope_type": "linear", "type": "dynamic", "factor": 2.0},
    {"rope_type": "default"},
    {"rope_type": "default", "rope_theta": 5e5},
    {"rope_theta": 5e5},
    {"rope_type": "yarn", "factor": 2.0},
    {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 1024},
    LLAMA3,
    {**LLAMA3, "original_max_position_embeddings": 1024},
    {"partial_rotary_factor": 0.5, "rope_type": "default"},
    {"full_attention": {"rope_type": "default"}, "sliding_attention": {"rope_type": "default", "rope_theta": 5e5}},
    {"full_attention": {"rope_type": "linear", "factor": 8.0}},
)
OTHERS: Final[Mapping[str, tuple[object, ...]]] = {
    "rope_theta": (1e4, 5e5),
    "rotary_emb_base": (1e4, 5e5),
    "rotary_pct": (0.25, 0.5),
    "partial_rotary_factor": (0.25, 0.5),
    "rope_local_base_freq": (1e4, 5e5),
    "original_max_position_embeddings": (1024, 2048),
    "rope_scaling": PARAMETERS,
    "rope_parameters": PARAMETERS,
}
DOCUMENTS: Final = 400


@pytest.mark.parametrize(
    "model_type",
    ["apertus", "falcon", "gemma2", "gemma3_text", "gpt_neox", "gpt_oss", "gptj", "llama", "modernbert-decoder",
     "olmo3", "phi3", "qwen2", "qwen3_moe"],
)  # fmt: skip
def test_the_same_digest_means_the_same_rotary_parameters(model_type: str) -> None:
    read: dict[str, str] = {}
    for document in _documents(model_type):
        try:
            found = _as_read(document)
        except Exception:  # noqa: BLE001  # refused by transformers, each class in its own way
            continue
        assert read.setdefault(digest_of(normalize_config(document)), found) == found, document
    assert len(read) > DOCUMENTS / 8


def _documents(model_type: str) -> Iterator[dict[str, Any]]:
    source = random.Random(model_type)  # the same documents every time
    for _ in range(DOCUMENTS):
        chosen = {key: source.choice(values) for key, values in OTHERS.items() if source.random() < 0.35}
        length = source.choice([2048, 4096])
        yield {"model_type": model_type, "max_position_embeddings": length, **json.loads(json.dumps(chosen))}


def _as_read(document: Mapping[str, Any]) -> str:
    """Rotary parameters as the model class gets them, without ``type``, which it reads only where there is no other."""
    parameters = CONFIG_MAPPING[document["model_type"]].from_dict(json.loads(json.dumps(document))).rope_parameters
    return json.dumps(_plain(parameters), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key != "type"}
    return float(value) if type(value) is int else value
