"""What this machine and its software are, for whoever reads the figures."""

import os
import platform
from pathlib import Path
from typing import Any, Final

import peft
import torch
import transformers

FLAGS: Final = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")
"""Of the processor, those that matrix products depend on."""


def describe_machine() -> dict[str, Any]:
    """Processor, memory, versions."""
    processor = _fields(Path("/proc/cpuinfo"))
    flags = processor.get("flags", "").split()
    return {
        "cpu": processor.get("model name", platform.processor()),
        "cores": len(os.sched_getaffinity(0)),
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
    }


def _fields(path: Path) -> dict[str, str]:
    """The first value of each name in a file of ``name: value``."""
    fields: dict[str, str] = {}
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields
