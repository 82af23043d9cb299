"""Small deterministic bases from raw bytes: no torch, no network, the same on every machine."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from services.common.identity.safetensors_header import BITS

Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]


def noise(seed: str, length: int) -> bytes:
    """SHA-256 in counter mode: reproducible bytes in any language."""
    blocks = (hashlib.sha256(f"{seed}/{index}".encode()).digest() for index in range(length // 32 + 1))
    return b"".join(blocks)[:length]


def tensor(name: str, shape: tuple[int, ...], dtype: str = "F32") -> tuple[str, tuple[int, ...], bytes]:
    return dtype, shape, noise(name, math.prod(shape) * BITS[dtype] // 8)


def tensors_of(shapes: Mapping[str, tuple[int, ...]], dtype: str = "F32") -> Tensors:
    return {name: tensor(name, shape, dtype) for name, shape in shapes.items()}


def safetensors_bytes(tensors: Tensors, metadata: Mapping[str, str] | None = None) -> bytes:
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in tensors.values())


LLAMA_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 16,
    "rms_norm_eps": 1e-06,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "tie_word_embeddings": False,
}
LLAMA_LAYER = {
    "self_attn.q_proj.weight": (8, 8),
    "self_attn.k_proj.weight": (4, 8),
    "self_attn.v_proj.weight": (4, 8),
    "self_attn.o_proj.weight": (8, 8),
    "mlp.gate_proj.weight": (12, 8),
    "mlp.up_proj.weight": (12, 8),
    "mlp.down_proj.weight": (8, 12),
    "input_layernorm.weight": (8,),
    "post_attention_layernorm.weight": (8,),
}
GPT2_CONFIG: dict[str, Any] = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "n_embd": 8,
    "n_head": 2,
    "n_layer": 1,
    "n_positions": 16,
    "vocab_size": 16,
}
GPT2_LAYER = {
    "attn.c_attn.weight": (8, 24),
    "attn.c_attn.bias": (24,),
    "attn.c_proj.weight": (8, 8),
    "attn.c_proj.bias": (8,),
    "mlp.c_fc.weight": (8, 32),
    "mlp.c_fc.bias": (32,),
    "mlp.c_proj.weight": (32, 8),
    "mlp.c_proj.bias": (8,),
    "ln_1.weight": (8,),
    "ln_1.bias": (8,),
    "ln_2.weight": (8,),
    "ln_2.bias": (8,),
}
LLAVA_CONFIG: dict[str, Any] = {
    "architectures": ["LlavaForConditionalGeneration"],
    "model_type": "llava",
    "image_token_index": 5,
    "text_config": {**LLAMA_CONFIG, "architectures": None, "num_hidden_layers": 1},
    "vision_config": {"model_type": "clip_vision_model", "hidden_size": 4, "num_hidden_layers": 1},
    "tie_word_embeddings": False,
}
TOKENIZER: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [
        {"id": 0, "content": "<|end|>", "special": True, "normalized": False},
        {"id": 1, "content": "<|pad|>", "special": True, "normalized": False},
    ],
    "normalizer": None,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "post_processor": None,
    "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    "model": {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {"<|end|>": 0, "<|pad|>": 1, "a": 2, "b": 3, "ab": 4, "é": 5, "𝄞": 6, "\ufb01": 7},
        "merges": [["a", "b"]],
    },
}
TOKENIZER_CONFIG: dict[str, Any] = {"eos_token": "<|end|>", "pad_token": "<|pad|>", "model_max_length": 10**30}


def llama_tensors(layers: int = 2) -> Tensors:
    shapes = {"model.embed_tokens.weight": (16, 8), "model.norm.weight": (8,), "lm_head.weight": (16, 8)}
    for index in range(layers):
        shapes |= {f"model.layers.{index}.{name}": shape for name, shape in LLAMA_LAYER.items()}
    return tensors_of(shapes)


def gpt2_tensors(prefix: str = "transformer.") -> Tensors:
    shapes = {"wte.weight": (16, 8), "wpe.weight": (16, 8), "ln_f.weight": (8,), "ln_f.bias": (8,)}
    shapes |= {f"h.0.{name}": shape for name, shape in GPT2_LAYER.items()}
    return tensors_of({prefix + name: shape for name, shape in shapes.items()})


def llava_tensors() -> Tensors:
    language = {f"language_model.{name}": value for name, value in llama_tensors(1).items()}
    tower = tensors_of(
        {
            "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight": (4, 4),
            "multi_modal_projector.linear_1.weight": (8, 4),
        }
    )
    return language | tower


@dataclass(frozen=True)
class Base:
    """What ``write`` puts into a directory."""

    tensors: Tensors = field(default_factory=llama_tensors)
    config: Mapping[str, Any] = field(default_factory=lambda: dict(LLAMA_CONFIG))
    tokenizer: Mapping[str, Any] | None = field(default_factory=lambda: dict(TOKENIZER))
    tokenizer_config: Mapping[str, Any] | None = field(default_factory=lambda: dict(TOKENIZER_CONFIG))
    files: Mapping[str, str] = field(default_factory=dict)
    shards: int = 0

    def but(self, **changes: Any) -> "Base":
        return replace(self, **changes)

    def configured(self, **changes: Any) -> "Base":
        return self.but(config={**self.config, **changes})

    def tokenizing(self, **changes: Any) -> "Base":
        return self.but(tokenizer={**(self.tokenizer or {}), **changes})

    def write(self, directory: Path) -> Path:
        directory.mkdir(parents=True)
        (directory / "config.json").write_text(json.dumps(self.config))
        if self.tokenizer is not None:
            (directory / "tokenizer.json").write_text(json.dumps(self.tokenizer, ensure_ascii=False))
        if self.tokenizer_config is not None:
            (directory / "tokenizer_config.json").write_text(json.dumps(self.tokenizer_config))
        for name, text in self.files.items():
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_text(text)
        self._write_weights(directory)
        return directory

    def _write_weights(self, directory: Path) -> None:
        if not self.shards:
            (directory / "model.safetensors").write_bytes(safetensors_bytes(self.tensors, {"format": "pt"}))
            return
        weight_map: dict[str, str] = {}
        for index in range(self.shards):
            shard = f"model-{index + 1:05d}-of-{self.shards:05d}.safetensors"
            names = list(self.tensors)[index :: self.shards]
            (directory / shard).write_bytes(safetensors_bytes({name: self.tensors[name] for name in names}))
            weight_map |= dict.fromkeys(names, shard)
        index_text = json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map})
        (directory / "model.safetensors.index.json").write_text(index_text)


def gpt2() -> Base:
    return Base(tensors=gpt2_tensors(), config=dict(GPT2_CONFIG))


def llava() -> Base:
    return Base(tensors=llava_tensors(), config=dict(LLAVA_CONFIG))


def changed(tensors: Tensors, name: str) -> Tensors:
    """One bit of one tensor flipped."""
    dtype, shape, data = tensors[name]
    return {**tensors, name: (dtype, shape, bytes([data[0] ^ 1]) + data[1:])}


def without(tensors: Tensors, names: Iterable[str]) -> Tensors:
    left_out = set(names)
    return {name: value for name, value in tensors.items() if name not in left_out}
