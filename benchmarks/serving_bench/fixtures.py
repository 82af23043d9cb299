"""Bases and adapters to measure with: random, the same bytes every time, made once and kept in a directory."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.serving_bench.shapes import TARGETS, Shape
from services.common.probe import Probe
from tests.contract.inference.samples import PROBE, PROBE_PROMPT, quiet_peft
from tests.support.tiny_bases import save_tokenizer

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
SPREAD: Final = 0.05
"""Standard deviation of the bases' weights: more than usual, or a random base only repeats its last token."""
CHANGE: Final = 0.02
"""Standard deviation of the adapters' B: they change answers, and no more."""
VERSION: Final = "2"
"""Another one makes everything anew."""


@dataclass(frozen=True, slots=True)
class Fixtures:
    """Makes what is not there yet.

    Attributes:
        directory: belongs to the benchmark.
    """

    directory: Path

    def base(self, shape: Shape, dtype: str = "float32") -> Path:
        """Directory of a base that is stored in a format by this name."""
        return self._made(f"{shape.name}-{dtype}", partial(_save_base, shape=shape, dtype=dtype))

    def adapters(self, shape: Shape, *, count: int, rank: int) -> dict[str, Path]:
        """Directories of adapters by name, as PEFT saves them; a smaller count gives the first of a larger one."""
        made = {}
        for number in range(count):
            name = f"{shape.name}-r{rank}-{number:02}"
            made[name] = self._made(name, partial(_save_adapter, shape=shape, rank=rank, seed=number))
        return made

    def _made(self, name: str, make: Callable[[Path], None]) -> Path:
        directory = self.directory / f"v{VERSION}" / name
        if not directory.exists():
            unfinished = directory.with_name(f"{name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            make(unfinished)
            unfinished.rename(directory)
        return directory


def _save_base(directory: Path, shape: Shape, dtype: str) -> None:
    config = AutoConfig.for_model("qwen2", initializer_range=SPREAD, **_configuration(shape))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # transformers leaves this call untyped.
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    model.to(getattr(torch, dtype)).save_pretrained(directory)
    save_tokenizer(directory, None, ())


def _configuration(shape: Shape) -> Mapping[str, Any]:
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_heads,
        "max_position_embeddings": shape.context,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }


def _save_adapter(directory: Path, shape: Shape, rank: int, seed: int) -> None:
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": shape.name,
        "r": rank,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(TARGETS),
    }
    (directory / CONFIG).write_text(json.dumps(config, indent=2))
    generator = torch.Generator().manual_seed(1000 * rank + seed)
    tensors = {}
    for layer in range(shape.layers):
        for target in TARGETS:
            out, inside = shape.projection(target)
            name = f"base_model.model.model.layers.{layer}.self_attn.{target}"
            tensors[f"{name}.lora_A.weight"] = torch.randn(rank, inside, generator=generator) * inside**-0.5
            tensors[f"{name}.lora_B.weight"] = torch.randn(out, rank, generator=generator) * CHANGE
    save_file(tensors, directory / WEIGHTS, {"format": "pt"})


def record_probes(base: Path, adapters: Sequence[Path]) -> None:
    """Note beside each adapter what it answers, as PEFT computes it, for manifests; what is noted stays."""
    missing = [directory for directory in adapters if not (directory / PROBE).exists()]
    if not missing:
        return
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with quiet_peft():
        first = missing[0]
        model = PeftModel.from_pretrained(model, str(first), adapter_name=first.name).eval()
        for directory in missing[1:]:
            model.load_adapter(str(directory), adapter_name=directory.name)
    for directory in missing:
        model.set_adapter(directory.name)
        unfinished = directory / f"{PROBE}.unfinished"
        unfinished.write_text(json.dumps(_probe(model).to_json()))
        unfinished.rename(directory / PROBE)


@torch.inference_mode()
def _probe(model: Any) -> Probe:
    ids = torch.tensor([PROBE_PROMPT])
    with model.disable_adapter():
        base = model(input_ids=ids).logits[0, -1]
    adapter = model(input_ids=ids).logits[0, -1]
    tokens = sorted({*base.topk(8).indices.tolist(), *adapter.topk(8).indices.tolist()})
    return Probe(PROBE_PROMPT, tuple(tokens), tuple(base[tokens].tolist()), tuple(adapter[tokens].tolist()))
