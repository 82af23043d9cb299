"""Merkle trees of RFC 6962 section 2.1: leaf prefix 0x00, node prefix 0x01, SHA-256."""

import hashlib
from collections.abc import Iterable
from typing import Final

__all__ = ["LEAF_PREFIX", "leaf_hash", "tree_hash"]

LEAF_PREFIX: Final = b"\x00"
NODE_PREFIX: Final = b"\x01"


def leaf_hash(data: bytes) -> bytes:
    """Hash of one leaf: SHA-256(0x00 || data)."""
    return hashlib.sha256(LEAF_PREFIX + data).digest()


def tree_hash(leaves: Iterable[bytes]) -> bytes:
    """Root over leaf hashes, in the order given; of no leaves, SHA-256 of the empty string.

    Equal subtrees of 2^k leaves are merged as they complete, so memory is logarithmic in the number of leaves.
    """
    complete: list[tuple[int, bytes]] = []
    for leaf in leaves:
        level, node = 0, leaf
        while complete and complete[-1][0] == level:
            node = _node(complete.pop()[1], node)
            level += 1
        complete.append((level, node))
    if not complete:
        return hashlib.sha256(b"").digest()
    root = complete.pop()[1]
    while complete:
        root = _node(complete.pop()[1], root)
    return root


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(NODE_PREFIX + left + right).digest()
