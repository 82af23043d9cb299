"""What a base's fingerprint tells an adapter's checks beside its modules: biases, and its own bytes recognised."""

import hashlib
from typing import Final

import numpy as np

from services.common.admission.plan import BLOCK_BYTES, ByteRanges
from services.common.identity import BaseFingerprint, TensorEntry, TensorLeaf
from services.common.identity.contents import CHUNK_BYTES
from services.common.identity.merkle import LEAF_PREFIX, tree_hash
from services.common.identity.modules import list_modules

__all__ = ["biased_modules", "is_copy"]

HALVES: Final = frozenset({"BF16", "F16"})
"""Dtypes that training widens to F32 without a loss."""


def biased_modules(base: BaseFingerprint) -> frozenset[str]:
    """Names of the modules that have a bias beside their matrix."""
    names = {leaf.name for leaf in base.tensors}
    with_bias = [leaf for leaf in base.tensors if f"{leaf.name.rpartition('.')[0]}.bias" in names]
    return frozenset(module.name for module in list_modules(base.config, with_bias, _bits(base)))


def is_copy(data: ByteRanges, module: str, weight: TensorEntry, base: BaseFingerprint) -> bool:
    """Whether a matrix in an adapter's file is the base's own, told by the content digest in the fingerprint.

    Args:
        data: the whole file.
        module: that the matrix is for.
        weight: where it lies in the file.
        base: whose tensors and digests are complete.
    """
    own = [leaf for leaf in base.tensors if leaf.shape == weight.shape and _is_of(base, leaf, module)]
    return any(_content(data, weight, leaf.dtype) == leaf.content for leaf in own)


def _is_of(base: BaseFingerprint, leaf: TensorLeaf, module: str) -> bool:
    return any(found.name == module for found in list_modules(base.config, [leaf], _bits(base)))


def _bits(base: BaseFingerprint) -> int | None:
    bits = (base.quantization or {}).get("bits")
    return bits if isinstance(bits, int) else None


def _content(data: ByteRanges, entry: TensorEntry, dtype: str) -> str | None:
    """The content digest that a tensor has as the base would store it; None where that would change a value."""
    if entry.dtype != dtype and (entry.dtype != "F32" or dtype not in HALVES):
        return None
    factor = 1 if entry.dtype == dtype else 2
    leaves: list[bytes] = []
    for begin in range(entry.begin, entry.end, factor * CHUNK_BYTES):
        hasher = hashlib.sha256(LEAF_PREFIX)
        end = min(begin + factor * CHUNK_BYTES, entry.end)
        for start in range(begin, end, BLOCK_BYTES):
            block = data[start : min(start + BLOCK_BYTES, end)]
            stored = block if factor == 1 else _narrowed(block, dtype)
            if stored is None:
                return None
            hasher.update(stored)
        leaves.append(hasher.digest())
    return tree_hash(leaves).hex()


def _narrowed(block: bytes | memoryview, dtype: str) -> bytes | None:
    """Single precision in half the bytes, bit for bit; None where it does not fit."""
    if dtype == "BF16":
        words = np.frombuffer(block, "<u4")
        return None if (words & 0xFFFF).any() else (words >> 16).astype("<u2").tobytes()
    values = np.frombuffer(block, "<f4")
    with np.errstate(all="ignore"):
        halves = values.astype("<f2")
    same = np.array_equal(halves.astype("<f4").view("<u4"), values.view("<u4"))
    return halves.tobytes() if same else None
