"""What the recipe chooses where the task leaves it open; ``findings`` says what is wrong with a choice.

Epochs follow the check script of the openai-cookbook, the learning rate "LoRA Without Regret" (about ten times that of
full fine-tuning, whatever the rank), the batch is chosen so that the run has a hundred optimizer steps: in fewer, a
LoRA learns next to nothing.
"""

import math
from typing import Final

from services.common.errors import DomainError, Reason, Violation
from services.trainer.recipe.protocol import RecipeHyperparameters, ResolvedHyperparameters, Schedule

FEW_ROWS: Final = 100
FEW_STEPS: Final = 100
MOST_ROW_VISITS: Final = 25_000
USUAL_EPOCHS: Final = 3
MOST_EPOCHS: Final = 25
LARGEST_BATCH: Final = 32

SMALL_BASE_PARAMETERS: Final = 100_000_000
SMALL_BASE_LEARNING_RATE: Final = 1e-3
LEARNING_RATE: Final = 2e-4

LORA_RANK: Final = 16
ALPHA_PER_RANK: Final = 2.0
WARMUP_RATIO: Final = 0.05
WEIGHT_DECAY: Final = 0.0
MAX_GRADIENT_NORM: Final = 1.0
SEED: Final = 0
LONGEST_SEQUENCE: Final = 2048


def sequence_length(asked: RecipeHyperparameters, context_length: int) -> int:
    """Tokens a row is cut to.

    Raises:
        DomainError: INVALID_ARGUMENT; more were asked for than the base's context holds.
    """
    if asked.max_sequence_length is None:
        return min(LONGEST_SEQUENCE, context_length)
    if asked.max_sequence_length > context_length:
        reason = f"It is {asked.max_sequence_length}, but the base's context holds {context_length} tokens."
        raise DomainError(
            Reason.INVALID_ARGUMENT,
            f"max_sequence_length is too large. {reason} Lower it.",
            violations=[Violation("hyperparameters.max_sequence_length", reason)],
        )
    return asked.max_sequence_length


def epochs_for(rows: int) -> int:
    """Passes over a data set of this many rows."""
    if USUAL_EPOCHS * rows < FEW_ROWS:
        return min(MOST_EPOCHS, math.ceil(FEW_ROWS / rows))
    if USUAL_EPOCHS * rows > MOST_ROW_VISITS:
        return max(1, MOST_ROW_VISITS // rows)
    return USUAL_EPOCHS


def batch_for(row_visits: int) -> int:
    """Rows per step: as many as leave a hundred steps."""
    return max(1, min(LARGEST_BATCH, row_visits // FEW_STEPS))


def total_steps(rows: int, epochs: int, batch_size: int) -> int:
    """Optimizer steps: batches run on from one pass into the next, so that only the very last may be short."""
    return math.ceil(rows * epochs / batch_size)


def resolve(
    asked: RecipeHyperparameters,
    *,
    rows: int,
    parameters: int,
    max_sequence_length: int,
    target_modules: tuple[str, ...],
) -> ResolvedHyperparameters:
    """Fill what was left open.

    Args:
        asked: the task's.
        rows: rows that will be learnt.
        parameters: of the base.
        max_sequence_length: from ``sequence_length``.
        target_modules: names of the layers to adapt.
    """
    epochs = asked.epochs or epochs_for(rows)
    rank = asked.lora_rank or LORA_RANK
    is_small = parameters < SMALL_BASE_PARAMETERS
    return ResolvedHyperparameters(
        epochs=epochs,
        batch_size=asked.batch_size or batch_for(rows * epochs),
        learning_rate=asked.learning_rate or (SMALL_BASE_LEARNING_RATE if is_small else LEARNING_RATE),
        warmup_ratio=WARMUP_RATIO if asked.warmup_ratio is None else asked.warmup_ratio,
        schedule=asked.schedule or Schedule.LINEAR,
        lora_rank=rank,
        lora_alpha=asked.lora_alpha or ALPHA_PER_RANK * rank,
        target_modules=target_modules,
        max_sequence_length=max_sequence_length,
        seed=SEED if asked.seed is None else asked.seed,
        weight_decay=WEIGHT_DECAY if asked.weight_decay is None else asked.weight_decay,
        max_gradient_norm=asked.max_gradient_norm or MAX_GRADIENT_NORM,
        early_stopping_patience=asked.early_stopping_patience or 0,
        use_rslora=asked.use_rslora or False,
        use_dora=asked.use_dora or False,
        rank_pattern=asked.rank_pattern,
        alpha_pattern=asked.alpha_pattern,
        modules_to_save=asked.modules_to_save,
    )
