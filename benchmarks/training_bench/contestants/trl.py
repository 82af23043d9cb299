"""TRL's SFTTrainer, run by the Python of an environment that has it: this program needs nothing else of the project's requirements.

python -m benchmarks.training_bench.contestants.trl BASE [--no-checkpointing] [--float32]
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.training_bench.task import ALPHA, BATCH, LEARNING_RATE, RANK, SEED, TARGETS, Row, rows

ENDLESS = 1_000_000


def main() -> None:
    """Train for as long as commands come: the trainer's own loop asks for the next command after each step that it owes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path)
    parser.add_argument("--no-checkpointing", action="store_true", help="of gradients, which is on by default")
    parser.add_argument(
        "--float32", action="store_true", help="without autocasting to bfloat16, which is on by default"
    )
    options = parser.parse_args()
    changes = {"gradient_checkpointing": False} if options.no_checkpointing else {}
    changes |= {"bf16": False} if options.float32 else {}
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory() as directory:
        trainer, about = _trainer(options.base, directory, changes)
        trainer.add_callback(_gate(answers, about))
        trainer.train()


def _trainer(base: Path, directory: str, changes: Mapping[str, bool]) -> tuple[Any, dict[str, Any]]:
    import torch  # noqa: PLC0415
    import trl  # type: ignore[import-not-found]  # noqa: PLC0415  # in its own environment
    from datasets import Dataset  # type: ignore[import-not-found]  # noqa: PLC0415  # likewise
    from peft import LoraConfig  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast  # noqa: PLC0415

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    # transformers leaves it untyped.
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(base / "tokenizer.json"))  # type: ignore[no-untyped-call]
    tokenizer.pad_token, tokenizer.eos_token = tokenizer.convert_ids_to_tokens(0), tokenizer.convert_ids_to_tokens(2)
    made = rows(model.config.vocab_size)
    data = Dataset.from_list(
        [{"input_ids": list(row.ids), "completion_mask": _completion(row), "labels": _labels(row)} for row in made]
    )
    arguments = trl.SFTConfig(
        output_dir=directory,
        per_device_train_batch_size=BATCH,
        max_steps=ENDLESS,
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        seed=SEED,
        train_sampling_strategy="sequential",
        save_strategy="no",
        report_to="none",
        logging_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        dataset_kwargs={"skip_prepare_dataset": True},
        **changes,
    )
    lora = LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=list(TARGETS))
    trainer = trl.SFTTrainer(
        model=model, args=arguments, train_dataset=data, processing_class=tokenizer, peft_config=lora
    )
    about = {
        "trl": trl.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "gradient_checkpointing": bool(arguments.gradient_checkpointing),
        "bf16": bool(arguments.bf16),
    }
    return trainer, about


def _completion(row: Row) -> list[int]:
    return [0] * row.prompt + [1] * (len(row.ids) - row.prompt)


def _labels(row: Row) -> list[int]:
    return [-100] * row.prompt + list(row.ids[row.prompt :])


def _gate(answers: Any, about: dict[str, Any]) -> Any:
    from transformers import TrainerCallback  # noqa: PLC0415

    class Gate(TrainerCallback):
        """Answers commands between steps."""

        def __init__(self) -> None:
            self.owed = self.taken = 0
            self.began = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            while not self.owed:
                line = sys.stdin.readline()
                if not line:
                    os._exit(0)
                command = json.loads(line)
                if command["do"] == "step":
                    self.owed = self.taken = command["count"]
                    self.began = time.perf_counter()
                else:
                    self.answer(about)

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.owed -= 1
            if not self.owed:
                self.answer({"seconds": time.perf_counter() - self.began, "steps": self.taken})

        def answer(self, value: dict[str, Any]) -> None:
            answers.write(json.dumps(value) + "\n")
            answers.flush()

    return Gate()


if __name__ == "__main__":
    main()
