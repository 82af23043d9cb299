"""What a run computes on."""

import torch

from services.trainer.recipe.training.compute import choose_compute


def test_a_very_small_base_is_trained_on_one_thread_unless_asked_otherwise() -> None:
    torch.set_num_threads(2)
    assert choose_compute(2, 2_000_000).threads == 2
    assert choose_compute(None, 500_000_000).threads == 2
    assert choose_compute(None, 2_000_000).threads == 1
    assert torch.get_num_threads() == 1


def test_a_run_is_made_repeatable_and_described() -> None:
    compute = choose_compute(1, 2_000_000)
    assert torch.are_deterministic_algorithms_enabled()
    assert compute.describe() == {
        "device": compute.device.type,
        "dtype": "bfloat16" if torch.cuda.is_available() else "float32",
        "threads": 1,
    }
