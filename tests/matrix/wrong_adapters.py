"""Wrong pairs: the adapter's own tensors or configuration are at fault, and whoever sealed it did not notice."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file

from services.common.errors import Reason
from tests.matrix.pair import CONFIG, WEIGHTS, Pair, changed, copies, every, flipped, without
from tests.matrix.wrong import Wrong, refused

PREFIX: Final = "base_model.model."


def tensors(edit: Any) -> Any:
    return lambda pair: pair.tensors(edit)


def config(**changes: Any) -> Any:
    return lambda pair: pair.config(**changes)


def filled(value: float) -> Any:
    def fill(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        tensor[0, 0] = value
        return tensor

    return fill


def sealed(edit: Any) -> Any:
    """Altered after it was sealed."""

    def do(pair: Pair) -> None:
        pair.seal()
        edit(pair)

    return do


def weights(edit: Any) -> Any:
    return lambda pair: pair.bytes_of(WEIGHTS, edit)


def header(edit: Callable[[str], str]) -> Any:
    """The JSON of the weights' header as text, changed, with its length made right."""

    def do(data: bytes) -> bytes:
        length = int.from_bytes(data[:8], "little")
        text = edit(data[8 : 8 + length].decode()).encode()
        return len(text).to_bytes(8, "little") + text + data[8 + length :]

    return weights(do)


def doubled_key(text: str) -> str:
    name, entry = next((key, value) for key, value in json.loads(text).items() if key != "__metadata__")
    return "{" + json.dumps(name) + ":" + json.dumps(entry) + "," + text[1:]


def overlapping(text: str) -> str:
    entries = {key: value for key, value in json.loads(text).items() if key != "__metadata__"}
    same_size = [entry for entry in entries.values() if entry["shape"] == next(iter(entries.values()))["shape"]]
    same_size[-1]["data_offsets"] = same_size[0]["data_offsets"]
    return json.dumps(entries)


def pickle_instead(pair: Pair) -> None:
    torch.save(load_file(pair.adapter / WEIGHTS), pair.adapter / "adapter_model.bin")
    (pair.adapter / WEIGHTS).unlink()
    pair.seal(files=tuple(pair.listed(name) for name in (CONFIG, "adapter_model.bin")))


def pickle_renamed(pair: Pair) -> None:
    torch.save(load_file(pair.adapter / WEIGHTS), pair.home / "pickle")
    (pair.home / "pickle").replace(pair.adapter / WEIGHTS)


def pickle_beside(pair: Pair) -> None:
    torch.save({}, pair.adapter / "adapter_model.bin")


def pipe_instead(pair: Pair) -> None:
    pair.seal()
    (pair.adapter / WEIGHTS).unlink()
    os.mkfifo(pair.adapter / WEIGHTS)


def link_outside(pair: Pair) -> None:
    pair.seal()
    outside = pair.home / "elsewhere.safetensors"
    Path(pair.adapter / WEIGHTS).rename(outside)
    (pair.adapter / WEIGHTS).symlink_to(outside)


def key_twice(pair: Pair) -> None:
    pair.bytes_of(CONFIG, lambda data: data.replace(b"{", b'{"r": 4,', 1))


def resized(pair: Pair) -> None:
    pair.tensors(
        lambda found: every(
            found, "embed_tokens.lora_embedding_A", lambda tensor: torch.cat([tensor, tensor[:, :4]], 1)
        )
    )


CORRUPT, UNKNOWN = Reason.ARTIFACT_CORRUPT, Reason.ADAPTER_TENSOR_UNKNOWN
MISSING, UNEXPECTED = Reason.ADAPTER_TENSOR_MISSING, Reason.ADAPTER_TENSOR_UNEXPECTED
NO_MODULE, SHAPE, DTYPE = (
    Reason.ADAPTER_MODULE_NOT_FOUND,
    Reason.ADAPTER_SHAPE_MISMATCH,
    Reason.ADAPTER_DTYPE_NOT_SUPPORTED,
)
NOT_FINITE, NO_EFFECT = Reason.ADAPTER_NOT_FINITE, Reason.ADAPTER_NO_EFFECT
HEADER, UNSAFE = Reason.SAFETENSORS_INVALID, Reason.ADAPTER_UNSAFE_FILES
NOT_SERVED, BAD_CONFIG = Reason.ADAPTER_NOT_SUPPORTED, Reason.ADAPTER_CONFIG_INVALID


def renamed(old: str, new: str) -> Any:
    return tensors(lambda found: {name.replace(old, new): tensor for name, tensor in found.items()})


WRONG_ADAPTERS: Final[tuple[Wrong, ...]] = (
    refused("every tensor name under a wrong prefix", "llama", renamed(PREFIX, "model."), "tensors", UNKNOWN),
    refused(
        "every tensor name with a prefix too many", "qwen2", renamed(PREFIX, PREFIX + "model."), "tensors", NO_MODULE
    ),
    refused(
        "module names of another architecture", "gpt2", renamed("transformer.h", "model.layers"), "tensors", NO_MODULE
    ),
    refused(
        "half of the layers missing", "llama", tensors(lambda found: without(found, "layers.1.")), "tensors", MISSING
    ),
    refused(
        "half of the layers missing", "gpt_neox", tensors(lambda found: without(found, "layers.1.")), "tensors", MISSING
    ),
    refused("lora_A without lora_B", "llama", tensors(lambda found: without(found, "lora_B")), "tensors", MISSING),
    refused(
        "one lora_A missing",
        "phi3",
        tensors(lambda found: without(found, "layers.0.mlp.down_proj.lora_A")),
        "tensors",
        MISSING,
    ),
    refused(
        "extra tensors for layers that do not exist",
        "llama",
        tensors(lambda found: copies(found, "layers.1.", ["layers.2.", "layers.3."])),
        "tensors",
        NO_MODULE,
    ),
    refused(
        "extra tensors for modules that are not targeted",
        "qwen2",
        tensors(lambda found: copies(found, "q_proj", ["k_proj"])),
        "tensors",
        Reason.ADAPTER_TENSOR_UNEXPECTED,
    ),
    refused(
        "a foreign tensor",
        "gpt2",
        tensors(lambda found: found | {"optimizer.state": torch.ones(2)}),
        "tensors",
        UNKNOWN,
    ),
    refused(
        "NaN inside",
        "llama",
        tensors(lambda found: changed(found, "lora_B.weight", filled(float("nan")))),
        "values",
        NOT_FINITE,
    ),
    refused(
        "infinity inside",
        "gpt_neox",
        tensors(lambda found: changed(found, "lora_A.weight", filled(float("-inf")))),
        "values",
        NOT_FINITE,
    ),
    refused(
        "lora_B all zero", "llama", tensors(lambda found: every(found, "lora_B", torch.zeros_like)), "effect", NO_EFFECT
    ),
    refused(
        "lora_B all minus zero",
        "gpt2",
        tensors(lambda found: every(found, "lora_B", lambda b: -torch.zeros_like(b))),
        "effect",
        NO_EFFECT,
    ),
    refused(
        "lora_A all zero", "phi3", tensors(lambda found: every(found, "lora_A", torch.zeros_like)), "effect", NO_EFFECT
    ),
    refused(
        "a tensor transposed",
        "llama",
        tensors(lambda found: changed(found, "lora_A.weight", torch.t)),
        "tensors",
        SHAPE,
    ),
    refused(
        "lora_A and lora_B swapped",
        "gpt2",
        tensors(
            lambda found: {
                name.replace("lora_A", "lora_X").replace("lora_B", "lora_A").replace("lora_X", "lora_B"): tensor
                for name, tensor in found.items()
            }
        ),
        "tensors",
        SHAPE,
    ),
    refused(
        "tensors of 64-bit floats",
        "qwen2",
        tensors(lambda found: every(found, "lora_B", torch.Tensor.double)),
        "tensors",
        DTYPE,
    ),
    refused(
        "tensors of integers",
        "gpt_neox",
        tensors(lambda found: every(found, "lora_B", lambda b: b.to(torch.int8))),
        "tensors",
        DTYPE,
    ),
    refused(
        "resized embedding",
        "llama",
        resized,
        "tensors",
        NOT_SERVED,
        settings={"target_modules": ["q_proj", "embed_tokens"]},
    ),
    refused(
        "DoRA without magnitudes",
        "qwen2",
        tensors(lambda found: without(found, "magnitude")),
        "tensors",
        MISSING,
        settings={"use_dora": True},
    ),
    refused(
        "lora_bias without biases",
        "llama",
        tensors(lambda found: without(found, "lora_B.bias")),
        "tensors",
        MISSING,
        settings={"lora_bias": True},
    ),
    refused(
        "a module of modules_to_save missing",
        "llama",
        tensors(lambda found: without(found, "lm_head")),
        "tensors",
        MISSING,
        settings={"modules_to_save": ["lm_head"]},
    ),
    refused("a tensor name twice in the header", "llama", header(doubled_key), "header", HEADER),
    refused("two tensors over the same bytes", "gpt2", header(overlapping), "header", HEADER),
    refused(
        "a header longer than the file",
        "phi3",
        weights(lambda data: (2**62).to_bytes(8, "little") + data[8:]),
        "header",
        HEADER,
    ),
    refused("bytes after the last tensor", "qwen2", weights(lambda data: data + b"\0"), "header", HEADER),
    refused("no tensor at all", "gpt_neox", weights(lambda _: b"\x02\0\0\0\0\0\0\0{}"), "tensors", MISSING),
    refused("pickle `.bin` file", "llama", pickle_instead, "files", UNSAFE, served=Reason.ADAPTER_FILES_MISSING),
    refused("pickle named `.safetensors`", "qwen2", pickle_renamed, "header", UNSAFE),
    refused("pickle beside the safetensors", "gpt2", pickle_beside, "files", UNSAFE, served=None),
    refused("a pipe in the place of the weights", "llama", pipe_instead, "files", UNSAFE, served=None, peft=False),
    refused("weights that are a link to elsewhere", "llama", link_outside, "files", UNSAFE, served=None),
    refused("truncated file", "llama", sealed(weights(lambda data: data[:-4])), "header", CORRUPT),
    refused("one bit flipped", "llama", sealed(weights(lambda data: flipped(data, -2))), "digest", CORRUPT),
    refused(
        "one bit flipped in the header", "gpt2", sealed(weights(lambda data: flipped(data, 60))), "header", CORRUPT
    ),
    refused("alpha times ten", "llama", sealed(config(lora_alpha=160)), "config", CORRUPT),
    refused("rank in config not that of the tensors", "llama", config(r=8), "tensors", SHAPE),
    refused(
        "targets in config not those in the file",
        "llama",
        config(target_modules=["q_proj", "o_proj"]),
        "tensors",
        MISSING,
    ),
    refused(
        "targets in config that the base does not have",
        "gpt2",
        config(target_modules=["c_attn", "c_fc", "q_proj"]),
        "tensors",
        NO_MODULE,
    ),
    refused("alpha 0", "gpt_neox", config(lora_alpha=0), "effect", NO_EFFECT),
    refused("rank 0", "qwen2", config(r=0), "config", BAD_CONFIG),
    refused("peft_type IA3", "llama", config(peft_type="IA3"), "config", NOT_SERVED),
    refused("bias: all", "qwen2", config(bias="all"), "config", NOT_SERVED),
    refused("trainable_token_indices", "phi3", config(trainable_token_indices=[1]), "config", NOT_SERVED),
    refused("layer_replication", "llama", config(layer_replication=[[0, 2], [1, 2]]), "config", NOT_SERVED),
    refused("initialised by PiSSA", "gpt2", config(init_lora_weights="pissa"), "config", NOT_SERVED),
    refused("an option nobody knows", "gpt_neox", config(use_tomorrow=True), "config", NOT_SERVED),
    refused(
        "an expression that looks behind",
        "llama",
        config(target_modules=r".*(?<=self_attn\.)q_proj"),
        "config",
        NOT_SERVED,
    ),
    refused("rank_pattern that the tensors do not have", "llama", config(rank_pattern={"q_proj": 2}), "tensors", SHAPE),
    refused("use_dora set afterwards", "llama", config(use_dora=True), "tensors", MISSING),
    refused("a key twice in adapter_config.json", "qwen2", key_twice, "config", BAD_CONFIG),
    refused(
        "adapter_config.json is no JSON",
        "gpt2",
        lambda pair: pair.bytes_of(CONFIG, lambda data: data[:-2]),
        "config",
        BAD_CONFIG,
    ),
)
