"""How the stored weights are quantized: method, bits, group size, and what is treated otherwise by module."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from services.common.identity.canonical import tag_numbers

__all__ = ["quantization_of"]

COMPUTE_KEYS: Final[Mapping[str, str]] = {
    "bnb_4bit_compute_dtype": "the dtype computed in, not stored",
    "llm_int8_enable_fp32_cpu_offload": "where weights are kept",
    "use_exllama": "which kernel computes",
    "disable_exllama": "which kernel computes",
    "exllama_config": "which kernel computes",
    "use_cuda_fp16": "which kernel computes",
    "max_input_length": "a kernel's buffer",
    "backend": "which kernel computes",
    "dataset": "what it was calibrated on; the result is in the weights",
    "tokenizer": "what it was calibrated with",
    "model_seqlen": "what it was calibrated with",
    "batch_size": "what it was calibrated with",
    "damp_percent": "how it was calibrated",
    "meta": "who wrote it",
}
BITS_KEYS: Final = ("bits", "w_bit", "num_bits")
GROUP_KEYS: Final = ("group_size", "q_group_size")
MODULE_KEYS: Final = ("modules_to_not_convert", "llm_int8_skip_modules", "dynamic", "config_groups", "ignore")
PACKED_DTYPES: Final = frozenset({"U8", "I8", "U32", "I32"})
"""What bitsandbytes stores quantized weights as."""


def quantization_of(config: Mapping[str, Any], dtypes: Iterable[str]) -> dict[str, Any] | None:
    """The quantization of the stored weights, or None.

    A ``quantization_config`` of bitsandbytes over weights that are stored in full precision asks for quantization at
    load time: that is compute, not identity.

    Args:
        config: config.json as read.
        dtypes: the dtypes of the tensors in the files.
    """
    stated = config.get("quantization_config")
    if not isinstance(stated, dict):
        return None
    method = str(stated.get("quant_method", "unknown"))
    if method == "bitsandbytes" and not PACKED_DTYPES & set(dtypes):
        return None
    rest = {key: value for key, value in stated.items() if value is not None and key not in COMPUTE_KEYS}
    rest.pop("quant_method", None)
    found: dict[str, Any] = {"method": method}
    if (bits := _bits(method, rest)) is not None:
        found["bits"] = bits
    if (group_size := _first(rest, GROUP_KEYS)) is not None:
        found["group_size"] = group_size
    found["modules"] = {key: rest.pop(key) for key in MODULE_KEYS if key in rest}
    found["settings"] = {key: value for key, value in rest.items() if not key.startswith("_")}
    return dict(tag_numbers(found))


def _bits(method: str, stated: dict[str, Any]) -> Any:
    bits = _first(stated, BITS_KEYS)
    if bits is not None:
        return bits
    if stated.pop("load_in_4bit", False):
        stated.pop("load_in_8bit", None)
        return 4
    if stated.pop("load_in_8bit", False):
        return 8
    return 8 if method == "fp8" else None


def _first(stated: dict[str, Any], keys: Iterable[str]) -> Any:
    found = [stated.pop(key) for key in keys if key in stated]
    return found[0] if found else None
