from typing import Any

import pytest

from services.common.identity.tokenizer import pipeline_digest, special_token_roles, template_digest, templates_of
from tests.unit.identity.build import TOKENIZER

MODEL: dict[str, Any] = TOKENIZER["model"]


def with_model(**changes: Any) -> dict[str, Any]:
    return {**TOKENIZER, "model": {**MODEL, **changes}}


SAME: dict[str, dict[str, Any]] = {
    "padding and truncation": {**TOKENIZER, "padding": {"strategy": "BatchLongest"}, "truncation": {"max_length": 8}},
    "merges as text": with_model(merges=["a b"]),
    "version": {**TOKENIZER, "version": "2.0"},
    "fields older files lack": {
        **TOKENIZER,
        "model": {"type": "BPE", "vocab": MODEL["vocab"], "merges": MODEL["merges"]},
    },
    "empty affixes": with_model(continuing_subword_prefix="", end_of_word_suffix=""),
    "added tokens in another order": {**TOKENIZER, "added_tokens": TOKENIZER["added_tokens"][::-1]},
    "default of a step": {
        **TOKENIZER,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True},
    },
}
OTHER: dict[str, dict[str, Any]] = {
    "vocabulary": with_model(vocab={**MODEL["vocab"], "c": 8}),
    "ids": with_model(vocab={**MODEL["vocab"], "a": 3, "b": 2}),
    "merges": with_model(merges=[["b", "a"]]),
    "byte fallback": with_model(byte_fallback=True),
    "normalizer": {**TOKENIZER, "normalizer": {"type": "NFC"}},
    "pre-tokenizer": {**TOKENIZER, "pre_tokenizer": None},
    "post-processor": {**TOKENIZER, "post_processor": {"type": "ByteLevel"}},
    "decoder": {**TOKENIZER, "decoder": None},
    "added tokens": {**TOKENIZER, "added_tokens": TOKENIZER["added_tokens"][:1]},
}


@pytest.mark.parametrize("name", SAME)
def test_what_does_not_change_the_tokens_does_not_count(name: str) -> None:
    assert pipeline_digest(SAME[name]) == pipeline_digest(TOKENIZER)


def test_whatever_changes_the_tokens_counts() -> None:
    digests = {pipeline_digest(TOKENIZER), *map(pipeline_digest, OTHER.values())}
    assert len(digests) == len(OTHER) + 1


@pytest.mark.parametrize(
    ("config", "special_map", "roles"),
    [
        ({"eos_token": "</s>"}, {}, {"eos_token": "</s>"}),
        ({"eos_token": {"content": "</s>", "lstrip": False}}, {}, {"eos_token": "</s>"}),
        ({"eos_token": None, "bos_token": "<s>"}, {"eos_token": "</s>"}, {"eos_token": "</s>", "bos_token": "<s>"}),
        ({"eos_token": "a"}, {"eos_token": "b"}, {"eos_token": "a"}),
        ({"additional_special_tokens": ["y", {"content": "x"}]}, {}, {"additional": ["x", "y"]}),
        ({"extra_special_tokens": ["x", "y"]}, {}, {"additional": ["x", "y"]}),
        ({"extra_special_tokens": {"image_token": "<image>"}}, {}, {"image_token": "<image>"}),
        ({"eos_token": 7, "model_max_length": 10**30}, {}, {}),
    ],
)
def test_roles(config: dict[str, Any], special_map: dict[str, Any], roles: dict[str, Any]) -> None:
    assert special_token_roles(config, special_map) == roles


def test_templates_from_wherever_they_are_kept() -> None:
    named = {"chat_template": [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]}
    assert templates_of(named, {}) == {"default": "D", "tool_use": "T"}
    assert templates_of({"chat_template": "old"}, {"default": "new"}) == {"default": "new"}
    assert template_digest({}) is None
    assert template_digest({"default": "a"}) != template_digest({"default": "b"})
