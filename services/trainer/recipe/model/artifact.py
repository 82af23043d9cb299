"""The result on disk: a plain PEFT directory, byte for byte the same for the same run."""

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from peft import PeftModel
from pydantic import JsonValue

from services.common.admission.config import summarize

CONFIG: Final = "adapter_config.json"
LIBRARIES: Final = ("torch", "transformers", "peft", "safetensors", "tokenizers")


def save(model: PeftModel, base_model: str, directory: Path) -> Mapping[str, JsonValue]:
    """Write adapter_model.safetensors and adapter_config.json; ``PeftModel.from_pretrained`` loads them.

    Args:
        model: after training.
        base_model: the base's name, which goes into the configuration in place of a path.
        directory: made if it is not there.

    Returns:
        The settings a reader of the manifest wants to see.
    """
    model.save_pretrained(str(directory), safe_serialization=True, save_embedding_layers=False)
    (directory / "README.md").unlink(missing_ok=True)
    config = _neutral(json.loads((directory / CONFIG).read_text()), base_model)
    (directory / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return summarize(config)


def _neutral(config: dict[str, Any], base_model: str) -> dict[str, Any]:
    """Remove what differs from machine to machine or, being a set, from run to run."""
    lists = {key: sorted(value) for key, value in config.items() if isinstance(value, list)}
    return {**config, **lists, "base_model_name_or_path": base_model, "inference_mode": True}


def library_versions() -> Mapping[str, str]:
    """The versions that made an adapter."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}
