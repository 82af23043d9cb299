"""docs/identity.md followed by hand: hashlib, json and nothing of the implementation.

If this and the golden vectors disagree with the code, the code is wrong, or the scheme needs a new name.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from services.common.identity import (
    Verdict,
    base_directory,
    components,
    config,
    fingerprint_base,
    processor,
    quantization,
    tied,
    tokenizer,
)
from tests.unit.identity.build import Base, gpt2
from tests.unit.identity.test_fingerprint import GOLDEN

DROPPED = {"architectures", "_name_or_path", "use_cache", "eos_token_id"}


def jcs(value: Any) -> bytes:
    """RFC 8785 for what occurs here: keys by UTF-16 code units, numbers as ECMAScript prints them."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return b"{" + b",".join(jcs(key) + b":" + jcs(value[key]) for key in keys) + b"}"
    if isinstance(value, list | tuple):
        return b"[" + b",".join(map(jcs, value)) + b"]"
    if isinstance(value, float):
        return b"%d" % int(value) if value.is_integer() else {1e-06: b"0.000001"}[value]
    return json.dumps(value, ensure_ascii=False).encode()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def tree(leaves: list[bytes]) -> str:
    def root(part: list[bytes]) -> bytes:
        if len(part) == 1:
            return hashlib.sha256(b"\x00" + part[0]).digest()
        split = 1
        while split * 2 < len(part):
            split *= 2
        return hashlib.sha256(b"\x01" + root(part[:split]) + root(part[split:])).digest()

    return root(leaves).hex()


def by_hand(base: Base) -> dict[str, Any]:
    leaves = [
        {"name": name, "dtype": dtype, "shape": list(shape), "content": tree([data])}
        for name, (dtype, shape, data) in sorted(base.tensors.items(), key=lambda item: item[0].encode())
    ]
    configuration = {key: value for key, value in base.config.items() if key not in DROPPED}
    document = base.tokenizer or {}
    model = {key: document["model"][key] for key in ("type", "vocab", "merges")}
    pre_tokenizer = {key: value for key, value in document["pre_tokenizer"].items() if key != "use_regex"}
    decoder = {key: value for key, value in document["decoder"].items() if key != "use_regex"}
    pipeline = {
        "model": model,
        "added_tokens": document["added_tokens"],
        "pre_tokenizer": pre_tokenizer,
        "decoder": decoder,
    }
    roles = {"eos_token": "<|end|>", "pad_token": "<|pad|>"}
    found: dict[str, Any] = {
        "architecture": base.config["architectures"][0],
        "config_digest": sha(jcs(configuration)),
        "weights_root": tree([jcs(leaf) for leaf in leaves]),
        "tokenizer_digest": sha(jcs({"pipeline": sha(jcs(pipeline)), "roles": roles})),
    }
    counted = {"scheme": "tenon.base/1", "code_digest": None, "processor_digest": None, "quantization": None, **found}
    structure = [{key: leaf[key] for key in ("name", "dtype", "shape")} for leaf in leaves]
    return {**found, "id": sha(jcs(counted)), "structure_root": tree([jcs(leaf) for leaf in structure])}


@pytest.mark.parametrize(
    "base",
    [Base(), Base(shards=3).configured(use_cache=True, eos_token_id=2), gpt2()],
    ids=["llama", "sharded llama", "gpt2"],
)
def test_the_specification_followed_by_hand_gives_the_same(base: Base, tmp_path: Path) -> None:
    fingerprint = fingerprint_base(base.write(tmp_path / "base"))
    for field, value in by_hand(base).items():
        assert getattr(fingerprint, field) == value, field


PAGE = Path(__file__).parents[3].joinpath("docs", "identity.md").read_text()


@pytest.mark.parametrize(
    "names",
    [
        config.IGNORED_KEYS,
        config.SAMPLING_DEFAULTS,
        config.RENAMED_LAYER_TYPES,
        *(segments for _, segments in components.SEGMENTS),
        quantization.COMPUTE_KEYS,
        quantization.MODULE_KEYS,
        tied.OUTPUTS,
        tied.SOURCES,
        tokenizer.ROLES,
        processor.IGNORED,
        base_directory.LIMITS,
        Verdict,
    ],
)
def test_every_entry_of_the_tables_is_on_the_page(names: Iterable[str]) -> None:
    assert [name for name in names if f"`{name}`" not in PAGE] == []


def test_the_golden_vectors_are_on_the_page() -> None:
    assert all(f"`{golden}`" in PAGE for golden in GOLDEN.values())
