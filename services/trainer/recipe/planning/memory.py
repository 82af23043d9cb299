"""How much memory a training takes at its peak, part by part, from shapes alone.

Each part has a name and a reason, so that it can be looked at, and set right, when the code that causes it changes;
``benchmarks/training_memory.py`` holds the sum against what a training really took. No torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MIB: Final = 1 << 20

FP32: Final = 4

RUNTIME_GROWTH: Final = 32 * MIB
"""What libraries take once they train, beyond what they take when imported: autograd's and the optimizer's code, oneDNN's
kernels and packed weights' scratch, threads' stacks and arenas."""

COPIES_PER_TRAINED_PARAMETER: Final = 5
"""The parameter, its gradient, AdamW's two moments, and the gradient's copy while the norm is taken."""

HIDDEN_PER_LAYER: Final = 7
"""Values per token that a layer keeps for the backward pass, in units of its width: the inputs of both norms, the norms'
outputs (LoRA's A multiplies them), the rotated query, attention's output, of each packed row and of all together."""

KEY_VALUE_PER_LAYER: Final = 2
"""The rotated key and the value, in units of their own width."""

GATED_PER_LAYER: Final = 3
"""Gate, up, and their product (LoRA's A multiplies it), in units of the feed-forward's width."""

PLAIN_PER_LAYER: Final = 5
"""The same without a gate: what goes into the activation function, three values that it keeps where it is written out
(GPT-2's), and what comes out."""

ALLOCATOR_SHARE: Final = 0.25
"""Of the activations: what the C library holds besides. Blocks below 32 MiB come from its heap, where those of one micro-batch
leave holes between what is kept, into which those of the next, of another length, do not fit: next to nothing where all
operations are fused, a third where an activation function is written out, as much again as the activations where rows are padded
and not packed. With a fixed M_MMAP_THRESHOLD it would be next to nothing everywhere."""

GPU_ALLOCATOR_SHARE: Final = 0.15
"""The same of torch's allocator on a GPU, which rounds blocks up."""

LOGITS_COPIES: Final = 3
"""Logits, their log-softmax, and their gradient."""

BACKWARD_WIDTH: Final = 3
"""The widest gradients alive at once in the backward pass, in units of the widest layer's output."""

ROW_BYTES: Final = 16
"""A token of the data set: its id and its label, 8 bytes each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """What of a base decides its memory.

    Attributes:
        parameters: of the base, a tied head counted once.
        hidden: width.
        intermediate: width of the feed-forward layers.
        key_value: width of keys, all heads together.
        layers: how many.
        heads: of attention.
        vocabulary: tokens.
        weight_bytes: of one parameter as loaded.
        gated: whether its feed-forward layers have a gate.
    """

    parameters: int
    hidden: int
    intermediate: int
    key_value: int
    layers: int
    heads: int
    vocabulary: int
    weight_bytes: int
    gated: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LargestPiece:
    """The largest micro-batch.

    Attributes:
        tokens: rows times length, padding included.
        labels: supervised tokens in it.
        length: of its longest row.
    """

    tokens: int
    labels: int
    length: int


def estimate(
    shape: ModelShape,
    piece: LargestPiece,
    *,
    trained_parameters: int,
    ranks: int,
    scaled: int = 0,
    data_tokens: int,
    runtime: int,
) -> Mapping[str, int]:
    """Bytes at the peak by what they are for.

    Args:
        shape: of the base.
        piece: the largest micro-batch of the run.
        trained_parameters: of the adapter, and of modules that are trained as a whole.
        ranks: sum of the ranks of all layers that get an adapter, the width of LoRA's inner results.
        scaled: sum of the outputs of layers whose lengths DoRA learns: it keeps what it scales.
        data_tokens: of all rows, kept as tokens.
        runtime: what interpreter and libraries take in this process before the base is loaded; 0 on a GPU.
    """
    per_token = (
        shape.layers
        * (
            HIDDEN_PER_LAYER * shape.hidden
            + KEY_VALUE_PER_LAYER * shape.key_value
            + (GATED_PER_LAYER if shape.gated else PLAIN_PER_LAYER) * shape.intermediate
        )
        + ranks
        + scaled
    )
    widest = max(shape.intermediate, shape.hidden)
    logits = LOGITS_COPIES * piece.labels * shape.vocabulary * FP32
    backward = BACKWARD_WIDTH * piece.tokens * widest * FP32
    activations = per_token * piece.tokens * FP32
    return {
        "runtime": runtime + (RUNTIME_GROWTH if runtime else 0),
        "weights": shape.parameters * shape.weight_bytes,
        "adapter_and_optimizer": COPIES_PER_TRAINED_PARAMETER * trained_parameters * FP32,
        "activations": activations,
        "allocator": int((ALLOCATOR_SHARE if runtime else GPU_ALLOCATOR_SHARE) * activations),
        # They follow one another: the logits are gone before the layers' gradients are computed.
        "logits_or_gradients": max(logits, backward),
        "rows": ROW_BYTES * data_tokens,
    }
