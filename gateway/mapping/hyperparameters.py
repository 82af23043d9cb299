"""Hyperparameters of trainings."""

from typing import Any, Final

from tenon.trainer.v1 import training_job_pb2

_NUMBERS: Final = (
    ("n_epochs", "epochs"), ("batch_size", "batch_size"), ("learning_rate", "learning_rate"),
    ("warmup_ratio", "warmup_ratio"), ("lora_rank", "lora_rank"), ("lora_alpha", "lora_alpha"),
    ("max_sequence_length", "max_sequence_length"), ("weight_decay", "weight_decay"),
    ("max_gradient_norm", "max_gradient_norm"), ("early_stopping_patience", "early_stopping_patience"),
    ("use_rslora", "use_rslora"), ("use_dora", "use_dora"),
)  # fmt: skip
_AUTO: Final = "auto"


def hyperparameters(chosen: training_job_pb2.Hyperparameters) -> dict[str, Any]:
    """Write hyperparameters; "auto" where the trainer has not chosen yet."""
    numbers = {name: getattr(chosen, field) if chosen.HasField(field) else _AUTO for name, field in _NUMBERS}
    schedule = training_job_pb2.Hyperparameters.Schedule.Name(chosen.schedule).removeprefix("SCHEDULE_").lower()
    return {
        **numbers,
        "learning_rate_multiplier": _AUTO,
        "schedule": _AUTO if schedule == "unspecified" else schedule,
        "target_modules": list(chosen.target_modules) or _AUTO,
        "rank_pattern": dict(chosen.rank_pattern),
        "alpha_pattern": dict(chosen.alpha_pattern),
        "modules_to_save": list(chosen.modules_to_save),
    }
