"""Right pairs: whatever does not change what base and adapter compute, and every variant that is served."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file

from tests.matrix.keys import OLD_KEY
from tests.matrix.pair import BASE_CONFIG, BASE_WEIGHTS, Document, Pair, Surroundings, every
from tests.support.keys import STRANGERS_KEY, TEST_KEY


@dataclass(frozen=True)
class Right:
    """One row of the second table.

    Attributes:
        name: what is different, as the page says it.
        architecture: of the base.
        do: makes it different; what it does not seal is sealed afterwards.
        settings: of PEFT's LoraConfig.
        derived: whether the base is a declared derivative, which only a server that allows these admits.
    """

    name: str
    architecture: str
    do: Callable[[Pair], object]
    settings: Mapping[str, Any] = field(default_factory=dict)
    derived: bool = False


def nothing(_: Pair) -> None:
    """As it was made."""


def resharded(pair: Pair) -> None:
    base = pair.own_base()
    tensors = load_file(base / BASE_WEIGHTS)
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for part, held in parts.items():
        save_file({name: tensors[name].clone() for name in held}, base / part, {"format": "pt"})
    (base / BASE_WEIGHTS).unlink()
    index = {"metadata": {}, "weight_map": {name: part for part, held in parts.items() for name in held}}
    (base / f"{BASE_WEIGHTS}.index.json").write_text(json.dumps(index))


def reordered(pair: Pair) -> None:
    """The same tensors at other places of the file."""
    path = pair.own_base() / BASE_WEIGHTS
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    header.pop("__metadata__", None)
    moved, parts, offset = {}, [], 0
    for name, entry in sorted(header.items(), key=lambda item: -item[1]["data_offsets"][0]):
        begin, end = entry["data_offsets"]
        moved[name] = entry | {"data_offsets": [offset, offset + end - begin]}
        parts.append(body[begin:end])
        offset += end - begin
    text = json.dumps({"__metadata__": {"format": "pt"}} | moved).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))


def moved(pair: Pair) -> None:
    pair.base = pair.own_base().rename(pair.home / "another name")


def older_spelling(pair: Pair) -> None:
    parameters = json.loads((pair.own_base() / BASE_CONFIG).read_bytes())["rope_parameters"]
    pair.base_config(rope_parameters=..., rope_theta=parameters["rope_theta"], torch_dtype="float32", dtype=...)


def volatile_keys(pair: Pair) -> None:
    pair.base_config(
        _name_or_path="/models/elsewhere",
        transformers_version="4.40.0",
        use_cache=False,
        max_length=99,
        temperature=0.5,
    )


def reordered_keys(pair: Pair) -> None:
    path = pair.own_base() / BASE_CONFIG
    path.write_text(json.dumps(dict(reversed(json.loads(path.read_bytes()).items())), indent=7))


def tied_twice(pair: Pair) -> None:
    pair.base_tensors(lambda found: found | {"lm_head.weight": found["model.embed_tokens.weight"].clone()})


def merges_as_text(document: Document) -> Document:
    document["model"]["merges"] = [" ".join(merge) for merge in document["model"]["merges"]]
    return document


def padded(document: Document) -> Document:
    return document | {"truncation": {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}}


def other_defaults(pair: Pair) -> None:
    (pair.own_base() / "generation_config.json").write_text('{"temperature": 0.1, "eos_token_id": [1, 2]}')


def left_overs(pair: Pair) -> None:
    for name in ("README.md", "training_args.bin", "optimizer.pt", "tokenizer.json"):
        (pair.adapter / name).write_text("left behind")


def base_left_overs(pair: Pair) -> None:
    (pair.own_base() / "training_args.bin").write_bytes(b"left behind")
    (pair.base / "README.md").write_text("left behind")


def halved(pair: Pair) -> None:
    """A copy in half precision, declared derived from the adapter's base."""
    pair.base_tensors(lambda found: {name: tensor.to(torch.bfloat16) for name, tensor in found.items()})
    pair.witness()
    pair.around = Surroundings(derivatives=True)


def saved_as(dtype: torch.dtype) -> Any:
    return lambda pair: pair.tensors(lambda found: every(found, "", lambda tensor: tensor.to(dtype)))


TARGETS: Final = ["q_proj", "v_proj", "down_proj"]

RIGHT: Final[tuple[Right, ...]] = (
    *(
        Right("as it was made", architecture, nothing)
        for architecture in ("qwen2", "llama", "gpt2", "gpt_neox", "phi3")
    ),
    Right("base in two shards", "llama", resharded),
    Right("base in two shards", "gpt2", resharded),
    Right("base's tensors in another order", "qwen2", reordered),
    Right("base's directory renamed", "phi3", moved),
    Right("base copied: other inodes and times", "gpt_neox", lambda pair: pair.own_base()),
    Right("config.json with other volatile keys", "qwen2", volatile_keys),
    Right("config.json with its keys in another order", "gpt2", reordered_keys),
    Right("config.json as transformers 4 spelled it", "llama", older_spelling),
    Right("tied output stored a second time", "qwen2", tied_twice),
    Right("chat template changed", "llama", lambda pair: pair.base_roles(chat_template="{{ messages }}")),
    Right("generation_config.json changed", "phi3", other_defaults),
    Right("merges of the tokenizer as text", "gpt2", lambda pair: pair.base_tokenizer(merges_as_text)),
    Right("truncation set in the tokenizer", "gpt_neox", lambda pair: pair.base_tokenizer(padded)),
    Right("a trainer's left-overs beside the base", "llama", base_left_overs),
    Right("a trainer's left-overs beside the adapter", "qwen2", left_overs),
    Right("adapter saved in bfloat16", "llama", saved_as(torch.bfloat16)),
    Right("adapter saved in float16", "gpt2", saved_as(torch.float16)),
    Right(
        "ranks and alphas by pattern", "llama", nothing, {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}}
    ),
    Right("rsLoRA", "phi3", nothing, {"use_rslora": True}),
    Right("DoRA", "llama", nothing, {"use_dora": True}),
    Right("DoRA on Conv1D", "gpt2", nothing, {"use_dora": True}),
    Right("lora_bias", "gpt_neox", nothing, {"lora_bias": True}),
    Right("layers_to_transform", "qwen2", nothing, {"layers_to_transform": [1], "layers_pattern": "layers"}),
    Right("exclude_modules", "llama", nothing, {"exclude_modules": r".*layers\.0\..*"}),
    Right("targets as an expression", "phi3", nothing, {"target_modules": r".*\.(qkv_proj|o_proj)"}),
    Right("all linear modules", "gpt2", nothing, {"target_modules": "all-linear"}),
    Right("LoRA on the embedding", "llama", nothing, {"target_modules": [*TARGETS, "embed_tokens"]}),
    Right("LoRA on a tied embedding", "qwen2", nothing, {"target_modules": [*TARGETS, "embed_tokens"]}),
    Right("modules_to_save: the output", "llama", nothing, {"modules_to_save": ["lm_head"]}),
    Right("modules_to_save: the embedding", "phi3", nothing, {"modules_to_save": ["embed_tokens"]}),
    Right("witnessed, with a probe", "qwen2", Pair.witness),
    Right("witnessed, with a probe", "gpt_neox", Pair.witness),
    Right("signed with an older key that is still trusted", "gpt2", lambda pair: pair.seal(OLD_KEY)),
    Right("two signatures, one of them by a stranger", "phi3", lambda pair: pair.seal(STRANGERS_KEY, TEST_KEY)),
    Right("bfloat16 copy of the base, declared derived, where the server admits these", "llama", halved, derived=True),
)
