"""Adapters for tests: made with plain PEFT on tiny bases, and published to a registry as the trainer does."""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from services.common.admission.base import biased_modules
from services.common.admission.config import parse_config, read_document, summarize
from services.common.admission.header import header_range, read_header
from services.common.admission.tensors import plan_adapter
from services.common.admission.values import check_values
from services.common.artifacts.store import ArtifactStore
from services.common.identity import BaseFingerprint
from services.common.manifest import AdapterManifest, ManifestFile, Provenance
from services.common.probe import Probe
from services.inference.engine.protocol import AdapterWeights
from services.inference.weights import read_weights

TARGETS: Mapping[str, list[str]] = {
    "qwen2": ["q_proj", "v_proj", "down_proj"],
    "llama": ["q_proj", "v_proj", "down_proj"],
    "gpt2": ["c_attn", "c_fc"],
    "gpt_neox": ["query_key_value", "dense_4h_to_h"],
    "phi3": ["qkv_proj", "down_proj"],
    "mistral": ["q_proj", "v_proj", "down_proj"],
    "qwen3": ["q_proj", "v_proj", "down_proj"],
    "gemma": ["q_proj", "v_proj", "down_proj"],
    "gemma2": ["q_proj", "v_proj", "down_proj"],
    "opt": ["q_proj", "v_proj", "fc2"],
}
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PROBE, PROBE_PROMPT = "probe.json", (40, 50, 60, 70)
"""Where ``make_adapter`` notes what base and adapter answered; it is no part of the adapter."""


def load_plain(base: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Load a base the way PEFT's users do."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    return model


@contextmanager
def quiet_peft() -> Iterator[None]:
    """PEFT asks transformers for an attribute by its old name, and gives advice on what is done here on purpose."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"peft\.")
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def make_adapter(base: Path, directory: Path, architecture: str = "qwen2", *, seed: int = 1, **options: Any) -> Path:
    """Save a random adapter that changes answers, and note what it answers."""
    torch.manual_seed(seed)
    settings = {"r": 4, "lora_alpha": 16, "target_modules": TARGETS[architecture], "task_type": "CAUSAL_LM", **options}
    if architecture == "gpt2":
        settings["fan_in_fan_out"] = True
    with quiet_peft():
        model: Any = get_peft_model(load_plain(base), LoraConfig(**settings))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            _train(name, parameter.data)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / PROBE).write_text(json.dumps(_probe(model.eval()).to_json()))
    with quiet_peft():
        model.save_pretrained(str(directory))
    (directory / "README.md").unlink()
    return directory


def _train(name: str, values: torch.Tensor) -> None:
    """Change what PEFT initialises to nothing, as training would."""
    if "lora_B" in name or "lora_embedding_B" in name:
        values.normal_(std=0.5)
    elif "lora_magnitude_vector" in name:
        values.mul_(1 + 0.3 * torch.randn_like(values))
    elif "lora_" not in name:
        values.add_(0.1 * torch.randn_like(values))


@torch.no_grad()
def _probe(model: Any) -> Probe:
    ids = torch.tensor([PROBE_PROMPT])
    with model.disable_adapter():
        base = model(input_ids=ids).logits[0, -1]
    adapter = model(input_ids=ids).logits[0, -1]
    tokens = sorted({*base.topk(8).indices.tolist(), *adapter.topk(8).indices.tolist()})
    return Probe(PROBE_PROMPT, tuple(tokens), tuple(base[tokens].tolist()), tuple(adapter[tokens].tolist()))


def edit_weights(directory: Path, **changes: torch.Tensor | None) -> None:
    """Replace, add or (None) remove tensors by the end of their names, with `__` for dots; a scalar fills."""
    tensors = load_file(directory / WEIGHTS)
    for key, value in changes.items():
        ending = key.replace("__", ".")
        for name in [name for name in tensors if name.endswith(ending)] or [ending]:
            old = tensors.pop(name, None)
            if value is not None:
                tensors[name] = value if old is None or value.dim() else torch.full_like(old, value.item())
    save_file(tensors, directory / WEIGHTS, {"format": "pt"})


def edit_config(directory: Path, **changes: Any) -> None:
    path = directory / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def file_of(path: Path) -> ManifestFile:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = hashlib.sha256(data[8 : 8 + length]).hexdigest() if path.suffix == ".safetensors" else None
    return ManifestFile(path.name, len(data), hashlib.sha256(data).hexdigest(), header)


def manifest_of(directory: Path, base_model: str, fingerprint: BaseFingerprint, **changes: Any) -> AdapterManifest:
    fields: dict[str, Any] = {
        "files": (file_of(directory / CONFIG), file_of(directory / WEIGHTS)),
        "base_model": base_model,
        "base": fingerprint.summary(),
        "provenance": Provenance.WITNESSED,
        "peft": summarize(read_document((directory / CONFIG).read_bytes())),
        "chat_template": None,
        "stop_token_ids": (2,),
        "training": {"job": "projects/default/trainingJobs/sample", "compute": {"dtype": "float32"}},
        "probe": Probe.from_json(json.loads((directory / PROBE).read_text())),
        **changes,
    }
    return AdapterManifest(**fields)


def store_files(store: ArtifactStore, directory: Path, project: str = "default") -> None:
    for name in (CONFIG, WEIGHTS):
        store.put_file(project, directory / name)


def read_adapter(directory: Path, fingerprint: BaseFingerprint, digest: str = "a" * 64) -> AdapterWeights:
    """Read an adapter's directory through the service's own checks."""
    data = (directory / WEIGHTS).read_bytes()
    begin, end = header_range(data[:8], len(data), what=WEIGHTS)
    entries = read_header(data[begin:end], file=file_of(directory / WEIGHTS))
    config = parse_config((directory / CONFIG).read_bytes())
    plan = plan_adapter(config, entries, fingerprint.modules, biased=biased_modules(fingerprint))
    check_values(memoryview(data), plan, fingerprint)
    return read_weights(digest, data, plan)


@torch.no_grad()
def expected_logits(
    base: Path, adapter: Path | None, prompt: list[int], dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Logits [vocabulary] of the next token, float32, as transformers and PEFT compute them from the files."""
    model: Any = load_plain(base, dtype)
    if adapter is not None:
        with quiet_peft():
            model = PeftModel.from_pretrained(model, str(adapter))
    logits: torch.Tensor = model.eval()(input_ids=torch.tensor([prompt])).logits[0, -1]
    return logits.float()


def expected_tokens(base: Path, adapter: Path | None, prompt: list[int], count: int) -> list[int]:
    """What transformers' and PEFT's own generate answers, greedily."""
    model: Any = load_plain(base)
    if adapter is not None:
        with quiet_peft():
            model = PeftModel.from_pretrained(model, str(adapter))
    ids = torch.tensor([prompt])
    mask = torch.ones_like(ids)
    answer = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=count, do_sample=False)
    return [int(token) for token in answer[0][len(prompt) :]]
