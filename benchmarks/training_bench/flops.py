"""Operations that a step needs, whoever takes it."""

from collections.abc import Sequence

from benchmarks.serving_bench.shapes import Shape
from benchmarks.training_bench.task import RANK, Row


def step_flops(shape: Shape, rows: Sequence[Row]) -> float:
    """Floating point operations of the matrix products of one optimizer step, a multiplication and an addition being two.

    Frozen matrices: forward, and the gradient of their inputs: 4 for each number and token. LoRA's: 6. The output matrix only where there
    are labels. Attention: 2 products forward and 5 backward, each over the half of the square that is not hidden.
    """
    tokens = sum(len(row.ids) for row in rows)
    labels = sum(len(row.ids) - row.prompt for row in rows)
    products = [shape.projection(name) for name in ("q_proj", "k_proj", "v_proj", "o_proj")]
    products += [(shape.inner, shape.hidden)] * 2 + [(shape.hidden, shape.inner)]
    frozen = shape.layers * sum(out * inside for out, inside in products)
    adapter = shape.layers * RANK * sum(out + inside for out, inside in products)
    squares = sum(len(row.ids) ** 2 / 2 for row in rows)
    attention = shape.layers * 7 * 2 * shape.hidden * squares
    return tokens * (4 * frozen + 6 * adapter) + labels * 4 * shape.hidden * shape.vocabulary + attention
