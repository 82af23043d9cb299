import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import DomainError, Reason
from services.common.identity import digest_of
from services.common.identity.tokenizer import pipeline_digest, special_token_roles, template_digest, templates_of
from tests.unit.identity.build import TOKENIZER

MODEL: dict[str, Any] = TOKENIZER["model"]


def digest(document: dict[str, Any]) -> str:
    return pipeline_digest(json.dumps(document).encode())


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
    assert digest(SAME[name]) == digest(TOKENIZER)


def test_whatever_changes_the_tokens_counts() -> None:
    digests = {digest(TOKENIZER), *map(digest, OTHER.values())}
    assert len(digests) == len(OTHER) + 1


def by_hand(merges: list[list[str]], vocabulary: dict[str, int]) -> str:
    return digest_of({"added_tokens": [], "model": {"type": "BPE", "merges": merges, "vocab": vocabulary}})


_parts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


@given(st.lists(st.tuples(_parts, _parts), max_size=6), st.dictionaries(_parts, st.integers(0, 2**40), max_size=6))
def test_read_in_pieces_it_is_what_the_specification_says(
    merges: list[tuple[str, str]], vocabulary: dict[str, int]
) -> None:
    model = {"type": "BPE", "vocab": vocabulary, "merges": merges}
    expected = by_hand([list(merge) for merge in merges], vocabulary)
    assert digest({"model": model}) == expected
    assert pipeline_digest(json.dumps({"model": model}, ensure_ascii=False, indent=2).encode()) == expected


@pytest.mark.parametrize("count", [1, 4095, 4096, 4097, 9000])
def test_many_merges_and_tokens(count: int) -> None:
    merges = [[f"a{index}", 'b\\"\n'] for index in range(count)]
    vocabulary = {f"t{index}": index for index in range(count)} | {"\U0001d11e": count, "\ufb01": count + 1}
    mixed = [" ".join(merge) if index % 3 else merge for index, merge in enumerate(merges)]
    assert digest({"model": {"type": "BPE", "vocab": vocabulary, "merges": mixed}}) == by_hand(merges, vocabulary)


def test_merges_of_something_else_are_not_the_models() -> None:
    beside = {"normalizer": {"type": "X", "merges": [["p", "q"]]}, "model": {"merges": [["a", "b"]]}}
    expected = {"added_tokens": [], "normalizer": beside["normalizer"], "model": beside["model"]}
    assert digest(beside) == digest_of(expected)
    text = {"model": {"vocab": {'"merges": [["x","y"]]': 0, "merges": 1}, "merges": [["a", "b"]]}}
    assert digest(text) == digest_of({"added_tokens": [], **text})


@pytest.mark.parametrize(
    "merges",
    [
        b"{}", b"1", b'["a"]', b'["a b c"]', b'[["a"]]', b'[["a","b","c"]]', b"[[1,2]]", b'[["a","b"],]', b'[["a" "b"]]',
        b'[["a","b"]', b'[["a","\\ud800"]]', b'[["a","\xff"]]', b'[["a","\n"]]', b'[["a","\\x"]]', b"[null]",
    ],
)  # fmt: skip
def test_other_merges_are_none(merges: bytes) -> None:
    with pytest.raises(DomainError) as caught:
        pipeline_digest(b'{"model": {"type": "BPE", "merges": ' + merges + b"}}")
    assert caught.value.reason is Reason.BASE_NOT_A_MODEL


def test_merges_take_little_memory() -> None:
    merges = [[f"token-{index}", f"token-{index + 1}"] for index in range(60_000)]
    data = json.dumps({"model": {"type": "BPE", "vocab": {}, "merges": merges}}).encode()
    tracemalloc.start()
    try:
        pipeline_digest(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(data)


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
