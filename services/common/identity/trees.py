"""The roots of a base: Merkle trees over its tensors, in UTF-8 byte order of their names."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.common.identity.canonical import canonical_json
from services.common.identity.components import component_of
from services.common.identity.merkle import leaf_hash, tree_hash

__all__ = ["TensorLeaf", "component_roots", "in_order", "structure_root", "weights_root"]


@dataclass(frozen=True, slots=True)
class TensorLeaf:
    """One tensor: name, safetensors dtype, shape, and the root over its bytes in chunks of 16 MiB."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    content: str

    def describe(self) -> str:
        """Dtype and shape as a person reads them: ``BF16[151936, 896]``."""
        return f"{self.dtype}{list(self.shape)}"


def in_order(leaves: Iterable[TensorLeaf]) -> tuple[TensorLeaf, ...]:
    """Sorted as every tree wants them."""
    return tuple(sorted(leaves, key=lambda leaf: leaf.name.encode()))


def structure_root(leaves: Sequence[TensorLeaf]) -> str:
    """Root over {name, dtype, shape}."""
    return tree_hash(
        leaf_hash(canonical_json({"name": leaf.name, "dtype": leaf.dtype, "shape": leaf.shape})) for leaf in leaves
    ).hex()


def weights_root(leaves: Iterable[TensorLeaf]) -> str:
    """Root over {name, dtype, shape, content}."""
    return tree_hash(
        leaf_hash(
            canonical_json({"name": leaf.name, "dtype": leaf.dtype, "shape": leaf.shape, "content": leaf.content})
        )
        for leaf in leaves
    ).hex()


def component_roots(leaves: Iterable[TensorLeaf]) -> dict[str, str]:
    """Component → the weights root of its tensors alone."""
    parts: defaultdict[str, list[TensorLeaf]] = defaultdict(list)
    for leaf in leaves:
        parts[component_of(leaf.name)].append(leaf)
    return {name: weights_root(part) for name, part in sorted(parts.items())}
