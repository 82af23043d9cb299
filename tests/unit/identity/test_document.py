import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.errors import DomainError, Reason
from services.common.identity import (
    SCHEME,
    BaseFingerprint,
    FingerprintSummary,
    LinearModule,
    TensorLeaf,
    canonical_json,
    digest_of,
)
from services.common.identity.fingerprint import MAX_DOCUMENT_BYTES
from tests.unit.identity.build import Base, gpt2, llava
from tests.unit.identity.conftest import Fingerprint

SMALL = BaseFingerprint.of(
    architecture="XForCausalLM",
    config={"model_type": "x", "limit": {"__float__": "Infinity"}},
    tensors=(TensorLeaf("a.weight", "F32", (2, 3), "11" * 32), TensorLeaf("b.weight", "BF16", (), "22" * 32)),
    modules=(LinearModule("a", "Linear", 3, 2),),
    code_digest=None,
    tokenizer_digest="33" * 32,
    chat_template_digest=None,
    processor_digest=None,
    quantization={"method": "gptq", "bits": 4},
    derived_from="44" * 32,
)


def refused(data: bytes) -> str:
    with pytest.raises(DomainError) as caught:
        BaseFingerprint.from_document(data)
    assert caught.value.reason is Reason.FINGERPRINT_INVALID
    return caught.value.message


@pytest.mark.parametrize("base", [Base(), gpt2(), llava()], ids=["llama", "gpt2", "llava"])
def test_round_trip(base: Base, fingerprint: Fingerprint) -> None:
    found = fingerprint(base)
    document = found.to_document()
    assert BaseFingerprint.from_document(document) == found
    assert BaseFingerprint.from_document(document).to_document() == document
    assert FingerprintSummary.from_summary(json.loads(json.dumps(found.summary()))).summary() == found.summary()


def test_the_id_is_the_digest_of_what_counts() -> None:
    assert SMALL.id == digest_of(
        {
            "scheme": SCHEME,
            "architecture": "XForCausalLM",
            "code_digest": None,
            "config_digest": digest_of(SMALL.config),
            "weights_root": SMALL.weights_root,
            "tokenizer_digest": "33" * 32,
            "processor_digest": None,
            "quantization": {"method": "gptq", "bits": 4},
        }
    )
    assert BaseFingerprint.from_document(SMALL.to_document()) == SMALL


TAMPERED: dict[str, Any] = {
    "scheme": "tenon.base/2",
    "id": "00" * 32,
    "architecture": "Y",
    "model_type": "y",
    "code_digest": "55" * 32,
    "config_digest": "00" * 32,
    "structure_root": "00" * 32,
    "weights_root": "00" * 32,
    "component_roots": {"language_model": "00" * 32},
    "tokenizer_digest": None,
    "processor_digest": "66" * 32,
    "quantization": None,
    "parameter_count": 8,
    "config": {"model_type": "x"},
    "tensors": [{"name": "a.weight", "dtype": "F32", "shape": [2, 3], "content": "11" * 32}],
}


@pytest.mark.parametrize("key", TAMPERED)
def test_what_does_not_follow_is_refused(key: str) -> None:
    refused(canonical_json({**json.loads(SMALL.to_document()), key: TAMPERED[key]}))


MALFORMED: dict[str, tuple[Any, ...]] = {
    "id": (None, 1, "AB" * 32, "ab" * 31, "ab" * 33),
    "chat_template_digest": ("", 1, "x"),
    "derived_from": ("someone", 0),
    "architecture": ("", None, "A" * 5000),
    "quantization": ([], "gptq"),
    "component_roots": ({}, [], {"a": 1}),
    "parameter_count": (-1, True, 1.5, "8", 2**60),
    "tensors": ([], {}, [1], [{}]),
    "modules": ({}, [1], [{"name": "a", "kind": "Linear", "in_features": 3}]),
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in MALFORMED.items() for value in values])
def test_malformed_fields_are_refused(key: str, value: Any) -> None:
    refused(json.dumps({**json.loads(SMALL.to_document()), key: value}).encode())


@pytest.mark.parametrize("key", json.loads(SMALL.to_document()))
def test_missing_fields_are_refused(key: str) -> None:
    document = json.loads(SMALL.to_document())
    del document[key]
    assert key in refused(canonical_json(document))


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "F128"},
        {"shape": [1] * 17},
        {"shape": [-1]},
        {"shape": [True]},
        {"shape": [1.5]},
        {"shape": 1},
        {"name": ""},
        {"name": "\ud800"},
        {"content": "xx"},
        {"more": 1},
    ],
)
def test_malformed_tensors_are_refused(change: dict[str, Any]) -> None:
    document = json.loads(SMALL.to_document())
    document["tensors"][0] |= change
    refused(json.dumps(document).encode())


def test_tensors_repeated_or_out_of_order_are_refused() -> None:
    document = json.loads(SMALL.to_document())
    first, second = document["tensors"]
    for tensors in ([second, first], [first, first, second]):
        refused(canonical_json({**document, "tensors": tensors}))


def test_modules_repeated_are_refused() -> None:
    document = json.loads(SMALL.to_document())
    refused(canonical_json({**document, "modules": document["modules"] * 2}))


def test_unknown_fields_are_refused() -> None:
    assert "surprise" in refused(canonical_json({**json.loads(SMALL.to_document()), "surprise": 1}))


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"\xff", b"{", b"[" * 100_000, b'{"a":1,"a":1}', b'{"id": NaN}'])
def test_what_is_no_document_is_refused(data: bytes) -> None:
    refused(data)


def test_a_document_above_the_limit_is_refused() -> None:
    with pytest.raises(DomainError) as caught:
        BaseFingerprint.from_document(b" " * (MAX_DOCUMENT_BYTES + 1))
    assert caught.value.reason is Reason.LIMIT_EXCEEDED


def test_a_config_that_cannot_be_canonical_is_refused() -> None:
    text = SMALL.to_document().decode()
    for hostile in ("NaN", "1e999", str(2**70), '{"a":' * 300 + "1" + "}" * 300):
        refused(text.replace('"model_type":"x"}', f'"model_type":"x","h":{hostile}}}', 1).encode())


@given(st.integers(0, len(SMALL.to_document()) - 1), st.integers(0, 255))
@settings(max_examples=400, deadline=None)
def test_no_damaged_byte_passes(position: int, byte: int) -> None:
    original = SMALL.to_document()
    damaged = original[:position] + bytes([byte]) + original[position + 1 :]
    try:
        found = BaseFingerprint.from_document(damaged)
    except DomainError:
        refused(damaged)
        return
    # What is not part of the id may change its value (who it derives from, which modules it lists), nothing else.
    assert found.id == SMALL.id
    assert found.tensors == SMALL.tensors


def test_a_summary_is_held_against_its_id() -> None:
    for key in ("architecture", "tokenizer_digest", "weights_root"):
        with pytest.raises(DomainError) as caught:
            FingerprintSummary.from_summary({**SMALL.summary(), key: "77" * 32})
        assert caught.value.reason is Reason.FINGERPRINT_INVALID


def test_a_derivation_must_name_an_id() -> None:
    with pytest.raises(DomainError):
        SMALL.derived("my-base")


def test_the_configuration_of_a_summary_is_held_against_its_digest() -> None:
    with pytest.raises(DomainError, match="config_digest"):
        FingerprintSummary.from_summary({**SMALL.summary(), "config": {"hidden_size": 1}})


@pytest.mark.parametrize("without", [{"config": None}, {}], ids=["null", "absent"])
def test_a_summary_may_know_the_digest_of_its_configuration_alone(without: dict[str, None]) -> None:
    stored = {key: value for key, value in SMALL.summary().items() if key != "config"} | without
    found = FingerprintSummary.from_summary(stored)
    assert found.config is None
    assert found.id == SMALL.id
    with pytest.raises(DomainError):
        BaseFingerprint.from_document(canonical_json({**json.loads(SMALL.to_document()), "config": None}))
