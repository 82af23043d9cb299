from typing import Any

import pytest

from services.common.identity.config import IGNORED_KEYS, SAMPLING_DEFAULTS, normalize_config
from services.common.identity.nulls import meaningful_nulls
from tests.support.config_nulls import optional_keys_with_a_default

ROPE_4 = {"rope_theta": 1e6, "rope_scaling": {"type": "yarn", "factor": 4.0}, "max_position_embeddings": 32768}
ROPE_5 = {
    "rope_parameters": {
        "rope_type": "yarn",
        "factor": 4.0,
        "rope_theta": 1000000,
        "original_max_position_embeddings": 32768,
    },
    "max_position_embeddings": 32768,
}

LLAMA: dict[str, Any] = {"model_type": "llama"}

SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "theta": ({"rope_theta": 1e6}, {"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}),
    "theta without scaling": (
        {"rope_theta": 1e6, "rope_scaling": None},
        {"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}},
    ),
    "yarn": (ROPE_4, ROPE_5),
    "partial": (
        {"rope_theta": 1e4, "partial_rotary_factor": 0.5},
        {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5, "rope_type": "default"}},
    ),
    "gpt-neox": (
        {"model_type": "gpt_neox", "rotary_emb_base": 10000, "rotary_pct": 0.25},
        {
            "model_type": "gpt_neox",
            "rope_parameters": {"rope_theta": 10000, "partial_rotary_factor": 0.25, "rope_type": "default"},
        },
    ),
    "gemma 3": (
        {
            "model_type": "gemma3_text",
            "rope_theta": 1e6,
            "rope_local_base_freq": 1e4,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        },
        {
            "model_type": "gemma3_text",
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
    ),
    "gemma 3, of which only the scaling is said": (
        {"model_type": "gemma3_text", "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
        {
            "model_type": "gemma3_text",
            "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0}},
        },
    ),
    "mrope": (
        {"rope_theta": 1e6, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}},
        {"rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6}},
    ),
    "nested": (
        {"text_config": LLAMA | {"rope_theta": 5e5}},
        {"text_config": LLAMA | {"rope_parameters": {"rope_theta": 5e5}}},
    ),
    "falcon": ({"model_type": "falcon", "n_embed": 64}, {"model_type": "falcon", "hidden_size": 64}),
    "nulls": ({"a": None, "b": {"c": None, "d": 1}}, {"b": {"d": 1}}),
    "null of a key that means nothing to the model type": (
        {"model_type": "llama", "head_dim": None, "sliding_window": None},
        {"model_type": "llama"},
    ),
    "layer types": ({"layer_types": ["attention", "mamba"]}, {"layer_types": ["full_attention", "linear_attention"]}),
}

NESTED = {"full_attention": {"rope_type": "default"}, "sliding_attention": {"rope_type": "default", "rope_theta": 5e5}}
OTHER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "null turns off what absence leaves on": (
        {"model_type": "mistral", "sliding_window": None},
        {"model_type": "mistral"},
    ),
    "null in a part": (
        {"text_config": {"model_type": "gemma2", "final_logit_softcapping": None}},
        {"text_config": {"model_type": "gemma2"}},
    ),
    "null in a part that does not say what it is": (
        {"model_type": "gemma3", "text_config": {"sliding_window": None}},
        {"model_type": "gemma3", "text_config": {}},
    ),
    "rotary parameters of a part that does not say what it is": (
        {"model_type": "gemma3", "text_config": {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}},
        {"model_type": "gemma3", "text_config": {"rope_parameters": {"rope_type": "linear", "factor": 8.0}}},
    ),
    "positions counted from the padding": (
        {"model_type": "roberta", "pad_token_id": 1},
        {"model_type": "roberta", "pad_token_id": 3},
    ),
    "key of another family": (
        {"model_type": "llama", "rope_theta": 1e4, "rotary_emb_base": 5e5},
        {"model_type": "llama", "rope_theta": 5e5},
    ),
    "key that gpt-neox does not read": (
        {"model_type": "gpt_neox", "rotary_emb_base": 1e4, "partial_rotary_factor": 0.5},
        {"model_type": "gpt_neox", "rotary_emb_base": 1e4, "rotary_pct": 0.5},
    ),
    "two bases of a family that has one": (
        {"model_type": "llama", "rope_theta": 1e4, "rope_local_base_freq": 5e5},
        {"model_type": "llama", "rope_parameters": {"full_attention": {"rope_theta": 1e4, "rope_type": "default"},
                                                    "sliding_attention": {"rope_theta": 5e5, "rope_type": "default"}}},
    ),
    "one base beside two": (
        {"model_type": "llama", "rope_theta": 5e5, "rope_parameters": NESTED},
        {"model_type": "llama", "rope_parameters": {**NESTED, "full_attention": {"rope_type": "default", "rope_theta": 5e5}}},
    ),
    "gemma 3 ignores what is not for a kind of layer": (
        {"model_type": "gemma3_text", "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
        {"model_type": "gemma3_text", "rope_parameters": {"rope_type": "linear", "factor": 8.0}},
    ),
    "gemma 3 does not read type": (
        {"model_type": "gemma3_text", "rope_local_base_freq": 1e4, "rope_scaling": {"type": "linear", "factor": 8.0}},
        {"model_type": "gemma3_text", "rope_local_base_freq": 1e4, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    ),
    "scaled by default": (
        {"model_type": "gpt_oss", "rope_theta": 1e4},
        {"model_type": "gpt_oss", "rope_scaling": {"rope_type": "default", "rope_theta": 1e4}},
    ),
    "length that llama does not read": (
        {"model_type": "llama", "original_max_position_embeddings": 512, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
        {"model_type": "llama", "original_max_position_embeddings": 512,
         "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_two_spellings_of_the_same(name: str) -> None:
    older, newer = SAME[name]
    assert normalize_config(LLAMA | older) == normalize_config(LLAMA | newer)


@pytest.mark.parametrize("name", OTHER)
def test_what_transformers_computes_otherwise_is_spelled_otherwise(name: str) -> None:
    one, other = OTHER[name]
    assert normalize_config(one) != normalize_config(other)


@pytest.mark.parametrize("key", sorted({*IGNORED_KEYS, *SAMPLING_DEFAULTS, "eos_token_id", "image_token_index"}))
def test_ignored_keys_are_ignored_at_every_level_of_the_configuration(key: str) -> None:
    assert normalize_config({key: 1, "text_config": {key: 2, "hidden_size": 3}}) == {"text_config": {"hidden_size": 3}}


def test_a_vocabulary_is_no_configuration() -> None:
    vocabulary = {"dtype": 7, "temperature": 9}
    assert normalize_config({"vocabulary_map": vocabulary}) == {"vocabulary_map": vocabulary}


def test_every_ignored_key_has_a_reason() -> None:
    assert all(reason for reason in IGNORED_KEYS.values())


def test_numbers_that_json_cannot_hold_are_tagged() -> None:
    assert normalize_config({"a": [float("-inf")], "b": 10**20}) == {
        "a": [{"__float__": "-Infinity"}],
        "b": {"__int__": str(10**20)},
    }


def test_other_scaling_counts() -> None:
    other = {**ROPE_4, "rope_scaling": {"type": "yarn", "factor": 8.0}}
    assert normalize_config(ROPE_4) != normalize_config(other)


def test_transformers_does_take_these_nulls_for_something_else() -> None:
    known = optional_keys_with_a_default()
    for key, model_types in meaningful_nulls().items():
        assert model_types <= set(known[key]), key
    assert "mistral" in meaningful_nulls()["sliding_window"]


@pytest.mark.parametrize("model_type", [{"type": "x"}, ["llama"], 7, None])
def test_a_part_whose_model_type_is_no_text_keeps_what_it_says(model_type: object) -> None:
    part = {"model_type": model_type, "rope_parameters": {"full_attention": {"rope_theta": 1}}, "pad_token_id": 1}
    normal = normalize_config({"model_type": "llama", "vision_config": part})
    assert normal["vision_config"]["rope_parameters"] == {"full_attention": {"rope_theta": 1}}
    assert "pad_token_id" not in normal["vision_config"]
