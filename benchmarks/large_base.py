"""A base of Qwen2.5-0.5B's shape: 494 million bfloat16 parameters in 290 tensors, and a vocabulary of 151,643."""

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

WIDTH: Final = 896
INNER: Final = 4864
LAYERS: Final = 24
HEADS: Final = 14
KEY_HEADS: Final = 2
ROWS: Final = 151_936
MERGES: Final = 151_387
SPECIAL: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
BLOCK: Final = 16 * 1024 * 1024
FINITE: Final = 0xBFFF
"""A mask that clears the highest bit of a bfloat16's exponent, so that random bits are finite."""

Shapes = dict[str, tuple[int, ...]]


def make_large_base(directory: Path, *, rows: int = ROWS, sparse: bool = False) -> Path:
    """Write the base; the same arguments give the same bytes.

    Args:
        directory: made if it is not there.
        rows: of the embedding.
        sparse: leave the weights a hole that reads as zeros, so that a base of any size is made at once.

    Returns:
        The directory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(_config(rows)))
    (directory / "tokenizer.json").write_text(json.dumps(_tokenizer(), ensure_ascii=False))
    (directory / "tokenizer_config.json").write_text(json.dumps({"eos_token": SPECIAL[2], "pad_token": SPECIAL[0]}))
    with (directory / "model.safetensors").open("wb") as file:
        count = _write_header(file, base_shapes(rows))
        if sparse:
            file.truncate(file.tell() + count)
        else:
            file.writelines(_noise(count))
    return directory


def base_shapes(rows: int = ROWS) -> Shapes:
    """Name → shape of every tensor."""
    narrow = WIDTH // HEADS * KEY_HEADS
    sides = {"q": WIDTH, "k": narrow, "v": narrow}
    layer: Shapes = {f"self_attn.{side}_proj.weight": (width, WIDTH) for side, width in sides.items()}
    layer |= {f"self_attn.{side}_proj.bias": (width,) for side, width in sides.items()}
    layer |= {
        "self_attn.o_proj.weight": (WIDTH, WIDTH),
        "mlp.gate_proj.weight": (INNER, WIDTH),
        "mlp.up_proj.weight": (INNER, WIDTH),
        "mlp.down_proj.weight": (WIDTH, INNER),
        "input_layernorm.weight": (WIDTH,),
        "post_attention_layernorm.weight": (WIDTH,),
    }
    shapes: Shapes = {"model.embed_tokens.weight": (rows, WIDTH), "model.norm.weight": (WIDTH,)}
    return shapes | {
        f"model.layers.{number}.{name}": shape for number in range(LAYERS) for name, shape in layer.items()
    }


def _config(rows: int) -> Mapping[str, Any]:
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "dtype": "bfloat16",
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "vocab_size": rows,
        "max_position_embeddings": 32_768,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1_000_000.0,
        "tie_word_embeddings": True,
    }


def _write_header(file: BinaryIO, shapes: Shapes) -> int:
    """Write length and JSON; answers the bytes of data that must follow."""
    header: dict[str, Any] = {}
    offset = 0
    for name, shape in shapes.items():
        end = offset + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    file.write(len(text).to_bytes(8, "little") + text)
    return offset


def _noise(count: int) -> Iterator[bytes]:
    generator = np.random.default_rng(0)
    for begin in range(0, count, BLOCK):
        words = min(BLOCK, count - begin) // 2
        yield (generator.integers(0, 1 << 16, words, dtype=np.uint16) & FINITE).tobytes()


def _tokenizer() -> Mapping[str, Any]:
    """A byte-level BPE whose every merge joins two tokens made before it."""
    alphabet = [chr(code) for code in itertools.chain(range(33, 127), range(161, 173), range(174, 324))]
    vocabulary = {letter: number for number, letter in enumerate(alphabet)}
    tokens, chance = list(alphabet), random.Random(0)
    merges: list[list[str]] = []
    while len(merges) < MERGES:
        # Mostly short parts, as in real vocabularies.
        left, right = (tokens[int(len(tokens) * chance.random() ** 3)] for _ in range(2))
        if len(left) + len(right) > 16 or left + right in vocabulary:
            continue
        vocabulary[left + right] = len(tokens)
        tokens.append(left + right)
        merges.append([left, right])
    added = [
        {"id": len(tokens) + number, "content": text, "special": True, "normalized": False, "lstrip": False,
         "rstrip": False, "single_word": False}
        for number, text in enumerate(SPECIAL)
    ]  # fmt: skip
    step = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": step,
        "post_processor": None,
        "decoder": step,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    }
