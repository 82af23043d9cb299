"""Adapters on matrices whose sizes nobody can tell from headers."""

import json

import pytest

from services.common.admission.config import parse_config
from services.common.admission.tensors import plan_adapter
from services.common.errors import DomainError, Reason
from services.common.identity import LinearModule, TensorEntry


def test_an_adapter_on_packed_weights_is_refused_by_that_name() -> None:
    config = parse_config(
        json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}).encode()
    )
    entries = [
        TensorEntry(f"base_model.model.m.q_proj.lora_{side}.weight", "F32", shape, 0, 0)
        for side, shape in (("A", (2, 8)), ("B", (8, 2)))
    ]
    with pytest.raises(DomainError) as caught:
        plan_adapter(config, entries, [LinearModule("m.q_proj", "Packed", 0, 0)])
    assert caught.value.reason is Reason.ADAPTER_NOT_SUPPORTED
    assert caught.value.metadata["feature"] == "packed weights"
    assert "m.q_proj" in caught.value.message
