"""A plan, for tests of what is done with one."""

from services.trainer.recipe.protocol import Finding, Plan, ResolvedHyperparameters, Schedule, Severity

PLAN = Plan(
    hyperparameters=ResolvedHyperparameters(
        epochs=3,
        batch_size=16,
        learning_rate=1e-3,
        warmup_ratio=0.05,
        schedule=Schedule.LINEAR,
        lora_rank=16,
        lora_alpha=32.0,
        target_modules=("q_proj",),
        max_sequence_length=256,
        seed=0,
        weight_decay=0.0,
    ),
    steps=4,
    rows=20,
    validation_rows=0,
    tokens=853,
    supervised_tokens=522,
    base_parameters=1_883_072,
    lora_parameters=217_088,
    memory={"runtime": 400, "weights": 200},
    memory_available=1000,
    seconds=1.5,
    seconds_basis="By the clock.",
    compute={"device": "cpu", "threads": 1},
    findings=(
        Finding(severity=Severity.HOPELESS, code="TOO_FEW_STEPS", text="Only 4 steps.", remedy="Use batch_size 1."),
    ),
)
