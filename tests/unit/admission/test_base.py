"""The base's own matrices, recognised by their digests, also where training widened them."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from services.common.admission.base import biased_modules, is_copy
from services.common.identity import BaseFingerprint, TensorEntry, fingerprint_base
from tests.unit.identity.build import Base, Tensors, gpt2, llama_tensors

VALUES = [0.0, -0.0, 1.5, -2.25, 2.0**-14, 3e-5, 1024.0, -0.125] * 16
SHAPE = (16, 8)
EMBEDDING = "model.embed_tokens"
Halves = Callable[[list[float]], bytes]


def singles(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def brain(values: list[float]) -> bytes:
    return b"".join(struct.pack("<f", value)[2:] for value in values)


def half(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}e", *values)


def fingerprint(directory: Path, matrix: tuple[str, bytes], *, tied: bool = False) -> BaseFingerprint:
    dtype, data = matrix
    tensors: Tensors = {**llama_tensors(), f"{EMBEDDING}.weight": (dtype, SHAPE, data)}
    if tied:
        del tensors["lm_head.weight"]
    return fingerprint_base(Base(tensors=tensors).configured(tie_word_embeddings=tied).write(directory), threads=1)


def entry(dtype: str, data: bytes) -> TensorEntry:
    return TensorEntry("matrix", dtype, SHAPE, 3, 3 + len(data))


def recognised(base: BaseFingerprint, dtype: str, data: bytes, module: str = EMBEDDING) -> bool:
    return is_copy(b"..." + data, module, entry(dtype, data), base)


@pytest.mark.parametrize(("dtype", "pack"), [("F32", singles), ("BF16", brain), ("F16", half)])
def test_the_same_bytes_are_a_copy(tmp_path: Path, dtype: str, pack: Halves) -> None:
    values = [round(value, 6) for value in VALUES]
    base = fingerprint(tmp_path / "base", (dtype, pack(values)))

    assert recognised(base, dtype, pack(values))
    assert not recognised(base, dtype, pack([*values[:-1], 9.0]))
    assert not recognised(base, dtype, pack(values), "lm_head")


@pytest.mark.parametrize(("dtype", "pack", "size"), [("BF16", brain, 2), ("F16", half, 2)])
def test_a_copy_may_be_widened_but_not_changed(tmp_path: Path, dtype: str, pack: Halves, size: int) -> None:
    narrow = pack(VALUES)
    base = fingerprint(tmp_path / "base", (dtype, narrow))
    code = {
        "BF16": lambda part: struct.unpack("<f", b"\0\0" + part)[0],
        "F16": lambda part: struct.unpack("<e", part)[0],
    }
    wide = [code[dtype](narrow[start : start + size]) for start in range(0, len(narrow), size)]

    assert recognised(base, "F32", singles(wide))
    assert not recognised(base, "F32", singles([*wide[:-1], wide[-1] * (1 + 2**-20)]))
    assert not recognised(base, "F32", singles([*wide[:-1], 1e30]))


def test_a_narrowed_copy_is_another_matrix(tmp_path: Path) -> None:
    base = fingerprint(tmp_path / "base", ("F32", singles(VALUES)))

    assert not recognised(base, "F16", half(VALUES))


def test_a_tied_output_is_recognised_by_the_embeddings_bytes(tmp_path: Path) -> None:
    base = fingerprint(tmp_path / "base", ("F32", singles(VALUES)), tied=True)

    assert recognised(base, "F32", singles(VALUES), "lm_head")


def test_modules_with_a_bias_are_named_as_adapters_name_them(tmp_path: Path) -> None:
    with_biases = fingerprint_base(gpt2().write(tmp_path / "gpt2"), threads=1)
    without = fingerprint_base(Base().write(tmp_path / "llama"), threads=1)

    assert biased_modules(with_biases) == {
        f"transformer.h.0.{name}" for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }
    assert biased_modules(without) == set()
