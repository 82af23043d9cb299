"""The number format that a base computes in: the stored one where this machine is fast in it, else single precision."""

import math
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import torch

from services.common.bases.loader import DTYPES
from services.common.identity import BaseFingerprint

AUTO: Final = "auto"
"""The wish that leaves it to the base and the machine."""

COMPUTED: Final[Mapping[str, torch.dtype]] = MappingProxyType(
    {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
)
"""Formats that bases compute in, by name."""

BFLOAT16_CAPABILITIES: Final = ("avx512_bf16", "amx_bf16")
"""What a processor needs to multiply bfloat16 itself; others convert every number first, and are slower than in float32.

Measured with oneDNN on avx512_bf16, two cores, a matrix of 4864 x 896: 1.5 times the float32 products a second for one row,
2.7 times for 16, 2.2 times for 64.
"""


def choose_dtype(fingerprint: BaseFingerprint, device: torch.device | str, wish: str) -> torch.dtype:
    """Choose what a base computes in.

    Args:
        fingerprint: of the base; its tensors say what is stored.
        device: where it computes.
        wish: a key of ``COMPUTED``, or ``AUTO``.
    """
    if wish != AUTO:
        return COMPUTED[wish]
    stored = stored_dtype(fingerprint)
    return stored if is_fast(stored, torch.device(device)) else torch.float32


def stored_dtype(fingerprint: BaseFingerprint) -> torch.dtype:
    """The format that most numbers of a base are stored in."""
    numbers: Counter[str] = Counter()
    for leaf in fingerprint.tensors:
        numbers[leaf.dtype] += math.prod(leaf.shape)
    return DTYPES.get(max(numbers, key=numbers.__getitem__), torch.float32)


def is_fast(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether a device computes in a format shorter than float32 by itself; float32 is always chosen otherwise."""
    if device.type == "cuda":
        if dtype is torch.bfloat16:
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        return dtype is torch.float16
    return dtype is torch.bfloat16 and _processor_multiplies_bfloat16()


def _processor_multiplies_bfloat16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in BFLOAT16_CAPABILITIES)
