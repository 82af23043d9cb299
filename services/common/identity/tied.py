"""A tied output matrix: left out where it repeats the input embedding, counted where it does not."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from services.common.identity.components import component_of
from services.common.identity.config import ties_output
from services.common.identity.trees import TensorLeaf

__all__ = ["without_tied_output"]

OUTPUTS: Final = ("lm_head.weight", "embed_out.weight", "output.weight")
SOURCES: Final = (
    "embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight", "tok_embeddings.weight",
    "shared.weight",
)  # fmt: skip


def without_tied_output(config: Mapping[str, Any], leaves: Iterable[TensorLeaf]) -> tuple[TensorLeaf, ...]:
    """Leave out an output matrix whose dtype, shape and bytes equal an input embedding's of the same component.

    Some writers store the tied matrix twice, others once; the model is the same. Nothing is left out where config.json
    says that the two are not tied.
    """
    leaves = tuple(leaves)
    if not ties_output(config):
        return leaves
    sources = {_content(leaf) for leaf in leaves if _is(leaf, SOURCES)}
    return tuple(leaf for leaf in leaves if not (_is(leaf, OUTPUTS) and _content(leaf) in sources))


def _is(leaf: TensorLeaf, names: tuple[str, ...]) -> bool:
    return ".".join(leaf.name.rsplit(".", 2)[-2:]) in names


def _content(leaf: TensorLeaf) -> tuple[str, str, tuple[int, ...], str]:
    return component_of(leaf.name), leaf.dtype, leaf.shape, leaf.content
