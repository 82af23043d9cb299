"""Adapter manifests: canonical, strict, named by their digest."""

import hashlib
import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import DomainError, Reason
from services.common.manifest import MAX_MANIFEST_BYTES, AdapterManifest, ManifestFile, Provenance, manifest_digest
from services.common.probe import Probe

DIGEST = "0123456789abcdef" * 4

MANIFEST = AdapterManifest(
    files=(
        ManifestFile("adapter_config.json", 10, DIGEST),
        ManifestFile("adapter_model.safetensors", 20, DIGEST, header_sha256=DIGEST),
    ),
    base_model="baseModels/tiny",
    base={"id": DIGEST, "architecture": "Qwen2ForCausalLM"},
    provenance=Provenance.WITNESSED,
    peft={"peft_type": "LORA", "r": 8},
    chat_template="{{ messages }}",
    stop_token_ids=(1, 2),
    training={"seed": 0, "learning_rate": 1e-3},
    probe=Probe((3, 1), (7, 9), (0.5, 2.0), (1.25, -2.0)),
)


def changed(**values: Any) -> bytes:
    document = json.loads(MANIFEST.to_bytes()) | values
    return rfc8785.dumps({key: value for key, value in document.items() if value is not ...})


def test_a_manifest_is_read_back_as_it_was() -> None:
    assert AdapterManifest.from_bytes(MANIFEST.to_bytes()) == MANIFEST


def test_its_digest_is_the_sha256_of_its_bytes() -> None:
    assert MANIFEST.digest == manifest_digest(MANIFEST.to_bytes()) == hashlib.sha256(MANIFEST.to_bytes()).hexdigest()


def test_the_order_of_files_does_not_matter() -> None:
    files = tuple(reversed(MANIFEST.files))
    other = AdapterManifest(**{f: getattr(MANIFEST, f) for f in MANIFEST.__slots__} | {"files": files})
    assert other.digest == MANIFEST.digest


def test_the_golden_bytes_do_not_change() -> None:
    assert MANIFEST.digest == "1b734bc223d1b2372ba5f61898f97e75d132f8d835fca47e1c0c692f10b85dc9"


PROBE = {"prompt_token_ids": [3, 1], "token_ids": [7, 9], "base_logits": [0.5, 2], "adapter_logits": [1.25, -2]}
FILE = {"path": "a.json", "size": 1, "sha256": DIGEST}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe",
        b'{"a":NaN}',
        b"[" * 100_000,
        b" " + MANIFEST.to_bytes(),
        json.dumps(json.loads(MANIFEST.to_bytes()), indent=1).encode(),
        changed(scheme="tenon.adapter/2"),
        changed(unknown=1),
        changed(probe=...),
        changed(probe={}),
        changed(probe=PROBE | {"more": 1}),
        changed(probe=PROBE | {"prompt_token_ids": []}),
        changed(probe=PROBE | {"prompt_token_ids": [-1]}),
        changed(probe=PROBE | {"prompt_token_ids": [1] * 513}),
        changed(probe=PROBE | {"token_ids": [7, 7]}),
        changed(probe=PROBE | {"token_ids": [7.5, 9]}),
        changed(probe=PROBE | {"token_ids": [True, 9]}),
        changed(probe=PROBE | {"base_logits": [1]}),
        changed(probe=PROBE | {"adapter_logits": ["1", 2]}),
        changed(provenance=...),
        changed(provenance=None),
        changed(provenance=["witnessed"]),
        changed(provenance="trusted"),
        changed(files=[]),
        changed(files=[FILE, FILE]),
        changed(files=[{**FILE, "path": "../a"}]),
        changed(files=[{**FILE, "path": "a/b"}]),
        changed(files=[{**FILE, "path": ".hidden"}]),
        changed(files=[{**FILE, "size": -1}]),
        changed(files=[{**FILE, "size": True}]),
        changed(files=[{**FILE, "size": 1.5}]),
        changed(files=[{**FILE, "sha256": "x"}]),
        changed(files=[{**FILE, "header_sha256": None}]),
        changed(files=[{**FILE, "extra": 1}]),
        changed(files=[{**FILE, "path": "b"}, FILE]),
        changed(files=[{**FILE, "path": f"f{n:03}"} for n in range(257)]),
        changed(base_model="tiny"),
        changed(base={}),
        changed(base={"id": "short"}),
        changed(peft=[]),
        changed(training=None),
        changed(chat_template=1),
        changed(stop_token_ids=[-1]),
        changed(stop_token_ids=[True]),
        changed(stop_token_ids=1),
        changed(training={"x": "y" * MAX_MANIFEST_BYTES}),
    ],
    ids=lambda data: f"{data[:40]!r}",
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(DomainError) as caught:
        AdapterManifest.from_bytes(data)
    assert caught.value.reason is Reason.MANIFEST_INVALID


@pytest.mark.parametrize("depth", [63, 100, 300, 480, 900, 3000])
def test_nesting_is_refused_before_anything_runs_out_of_stack(depth: int) -> None:
    nested = MANIFEST.to_bytes().replace(b'"seed":0', b'"seed":' + b"[" * depth + b"]" * depth)
    with pytest.raises(DomainError) as caught:
        AdapterManifest.from_bytes(nested)
    assert caught.value.reason is Reason.MANIFEST_INVALID


@pytest.mark.parametrize("key", ["scheme", "base_model", "provenance", "k" * 500_000])
def test_what_is_quoted_is_cut(key: str) -> None:
    with pytest.raises(DomainError) as caught:
        AdapterManifest.from_bytes(changed(**{key: "x" * 500_000}))
    assert len(caught.value.message) < 600


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=10,
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_bytes_break_the_reader(data: bytes) -> None:
    with pytest.raises(DomainError) as caught:
        AdapterManifest.from_bytes(data)
    assert caught.value.reason is Reason.MANIFEST_INVALID
