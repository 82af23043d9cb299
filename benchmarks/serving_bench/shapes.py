"""The two bases that everything is measured on, and their adapters' shapes. Needs nothing but Python."""

from dataclasses import dataclass
from typing import Final

TARGETS: Final = ("q_proj", "k_proj", "v_proj", "o_proj")
"""What adapters change in each layer."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A Qwen2 whose output matrix is its embedding.

    Attributes:
        name: of its directory.
        hidden: width.
        inner: width between the matrices of the feed-forward part.
        layers: how many.
        heads: of queries.
        key_heads: of keys and values.
        vocabulary: tokens.
        context: most positions.
    """

    name: str
    hidden: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    vocabulary: int
    context: int

    def projection(self, target: str) -> tuple[int, int]:
        """[out, in] of one of ``TARGETS``."""
        narrow = self.hidden // self.heads * self.key_heads
        return (narrow if target in {"k_proj", "v_proj"} else self.hidden), self.hidden

    @property
    def parameters(self) -> int:
        """How many there are, biases and norms included."""
        attention = sum(out * inside for out, inside in map(self.projection, TARGETS))
        biases = sum(self.projection(target)[0] for target in TARGETS[:3])
        layer = attention + biases + 3 * self.hidden * self.inner + 2 * self.hidden
        return self.vocabulary * self.hidden + self.layers * layer + self.hidden

    def describe(self) -> str:
        """For people."""
        return (
            f"Qwen2 of {self.parameters / 1e6:.1f} million parameters: hidden {self.hidden}, inner {self.inner}, "
            f"{self.layers} layers, {self.heads} heads, {self.key_heads} of keys, vocabulary {self.vocabulary}, tied"
        )


SMALL: Final = Shape("qwen2-27m", 512, 1408, 8, 8, 2, 8192, 2048)
LARGE: Final = Shape("qwen2-494m", 896, 4864, 24, 14, 2, 151_936, 2048)
"""The shape of Qwen2.5-0.5B."""
