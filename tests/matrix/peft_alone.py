"""What PEFT does with a pair by itself."""

import warnings
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import AutoModelForCausalLM


def load_with_peft(base: Path, adapter: Path) -> str:
    """Load both as PEFT's users do, and say in a word or two what came of it."""
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(base)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is a refusal
            return f"transformers refuses: {type(error).__name__}"
        try:
            PeftModel.from_pretrained(model, str(adapter))
        except Exception as error:  # noqa: BLE001
            return f"refuses: {type(error).__name__}"
    warned = [str(warning.message) for warning in given if warning.category is UserWarning]
    return "loads it with a warning" if warned else "loads it"
