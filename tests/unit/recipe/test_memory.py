"""The memory of a training, part by part, from figures worked out by hand; benchmarks/training_memory.py measures it."""

from services.trainer.recipe.planning.duration import EFFICIENCY, SECONDS_PER_STEP, SECONDS_PER_TARGET, Speed, reckon
from services.trainer.recipe.planning.memory import LargestPiece, ModelShape, estimate

SHAPE = ModelShape(
    parameters=1_000_000,
    hidden=64,
    intermediate=128,
    key_value=32,
    layers=2,
    heads=4,
    vocabulary=1000,
    weight_bytes=4,
)


def parts(**changes: int) -> dict[str, int]:
    piece = LargestPiece(tokens=100, labels=changes.pop("labels", 10), length=50)
    settings = {"trained_parameters": 1000, "ranks": 112, "data_tokens": 500, "runtime": 1 << 20} | changes
    return dict(estimate(SHAPE, piece, **settings))


def test_every_part_grows_with_what_it_is_for() -> None:
    plain = parts()
    assert plain["weights"] == 4_000_000
    assert plain["rows"] == 8000
    assert parts(labels=1000)["logits_or_gradients"] > plain["logits_or_gradients"]
    assert parts(ranks=224)["activations"] - plain["activations"] == 112 * 100 * 4
    assert parts(trained_parameters=2000)["adapter_and_optimizer"] == 2 * plain["adapter_and_optimizer"]
    assert parts(runtime=0)["runtime"] == 0


def test_duration_counts_operations_and_calls() -> None:
    seconds, basis = reckon(Speed(1e9), SHAPE, tokens=1000, supervised=100, steps=10, targets=14)
    operations = 4 * ((1_000_000 - 64_000) * 1000 + 64_000 * 100)
    assert seconds == operations / (EFFICIENCY * 1e9) + 10 * (SECONDS_PER_STEP + 14 * SECONDS_PER_TARGET)
    assert "1 GFLOP/s" in basis
