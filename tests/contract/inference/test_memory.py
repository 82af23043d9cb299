"""Memory of a loaded base: what its weights take in the format that they are computed in, and hardly more while it loads."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from services.inference.engine.batched.kv import KvMemory, LayerShape
from tests.support.tiny_bases import make_tiny_base, save_tokenizer

LOADED, PEAK = 1.15, 1.3
"""Times the weights, at the most."""

KV_BYTES = 2**28
"""As much as the weights: that it takes none before it is written is part of what is measured."""

MEASURE = """
import json, sys
from pathlib import Path
from benchmarks.serving_bench.contestants.memory import measure

small, *large = map(Path, sys.argv[2:])
measure(small, int(sys.argv[1]))  # what is imported and set up once is no weight
print(json.dumps([measure(base, int(sys.argv[1])) for base in large]))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel tells no peak")
def test_a_base_takes_its_weights_and_little_more(tiny: Callable[..., Path], tmp_path: Path) -> None:
    wide = make_tiny_base(tmp_path / "float32", "qwen2", hidden=1024, layers=6)
    narrow = tmp_path / "bfloat16"
    AutoModelForCausalLM.from_pretrained(wide, dtype=torch.bfloat16).save_pretrained(narrow)
    save_tokenizer(narrow, None, ())
    command: list[str | Path] = [sys.executable, "-c", MEASURE, str(KV_BYTES), tiny(), wide, narrow]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=120)
    for found in json.loads(done.stdout.splitlines()[-1]):
        assert found["weights"] > 200e6
        assert found["loaded"] <= LOADED * found["weights"], found
        assert found["peak"] <= PEAK * found["weights"], found


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the kernel does not tell")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_keys_and_values_take_memory_when_they_are_written(dtype: torch.dtype) -> None:
    before = resident()
    shape = LayerShape(heads=4, key_width=64, value_width=32)
    memory = KvMemory([shape] * 4, budget_bytes=KV_BYTES, most_tokens=2**20, dtype=dtype, device=torch.device("cpu"))
    assert memory.size_bytes > 0.9 * KV_BYTES
    assert resident() - before < 0.05 * KV_BYTES
    arena = memory.values[-1]
    assert arena.shape == (memory.spans.total, 4, 32)
    assert not arena[:100].any()
    arena[7] = 1
    assert arena[:100].sum() == arena[7].numel()
    assert not any(other[:100].any() for other in memory.tensors() if other is not arena)
    for arena in memory.tensors():
        arena.fill_(1)
    assert resident() - before > 0.9 * KV_BYTES
    del memory, arena
    assert resident() - before < 0.1 * KV_BYTES


def resident() -> int:
    """Bytes of this process that are in memory and its own."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))
