"""Wrong pairs: the base at hand is not the one the adapter was trained on."""

import json
import shutil
from collections.abc import Mapping
from typing import Any, Final

import torch

from services.common.errors import Reason
from services.common.identity import Verdict
from tests.matrix.pair import BASE_CONFIG, BASE_WEIGHTS, Document, Pair, Tensors, changed, flipped, without
from tests.matrix.wrong import Wrong, broken_base, other_base

EMBEDDING: Final = "model.embed_tokens.weight"


def one_bit(pair: Pair) -> None:
    path = pair.own_base() / BASE_WEIGHTS
    path.write_bytes(flipped(path.read_bytes(), -1))


def truncated(pair: Pair) -> None:
    path = pair.own_base() / BASE_WEIGHTS
    path.write_bytes(path.read_bytes()[:-1])


def untied(pair: Pair) -> None:
    pair.base_tensors(lambda tensors: tensors | {"lm_head.weight": tensors[EMBEDDING].clone()})
    pair.base_config(tie_word_embeddings=False)


def with_tower(pair: Pair) -> None:
    tower = {"vision_tower.encoder.layers.0.self_attn.q_proj.weight": torch.ones(4, 4)}
    pair.base_tensors(lambda tensors: tensors | tower)


def with_code(pair: Pair) -> None:
    pair.base_config(auto_map={"AutoModelForCausalLM": "modeling_tiny.TinyForCausalLM"})
    (pair.base / "modeling_tiny.py").write_text("class TinyForCausalLM: ...\n")


def quantized(pair: Pair) -> None:
    pair.base_config(quantization_config={"quant_method": "fp8", "activation_scheme": "dynamic"})


def without_tokenizer(pair: Pair) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (pair.own_base() / name).unlink()


def with_index(pair: Pair) -> None:
    index = {"weight_map": {EMBEDDING: BASE_WEIGHTS}}
    (pair.own_base() / "model.safetensors.index.json").write_text(json.dumps(index))


def with_adapter(pair: Pair) -> None:
    shutil.copy(pair.adapter / "adapter_config.json", pair.own_base())
    shutil.copy(pair.adapter / "adapter_model.safetensors", pair.base)


def with_pickle(pair: Pair) -> None:
    torch.save({}, pair.own_base() / "pytorch_model.bin")


def with_config_twice(pair: Pair) -> None:
    path = pair.own_base() / BASE_CONFIG
    path.write_text(path.read_text().replace("{", '{"model_type": "llama",', 1))


def swapped_tokens(document: Document) -> Document:
    vocabulary = document["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    return document


def fewer_merges(document: Document) -> Document:
    document["model"]["merges"].pop()
    return document


def more_tokens(document: Document) -> Document:
    document["added_tokens"].append({**document["added_tokens"][-1], "id": 319, "content": "<|tool|>"})
    return document


def lowercased(document: Document) -> Document:
    return document | {"normalizer": {"type": "Lowercase"}}


def with_prefix_space(document: Document) -> Document:
    document["pre_tokenizer"]["add_prefix_space"] = True
    return document


def halved(tensors: Tensors) -> Tensors:
    return {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}


def config(**changes: Any) -> Any:
    return lambda pair: pair.base_config(**changes)


def tensors(edit: Any) -> Any:
    return lambda pair: pair.base_tensors(edit)


def tokenizer(edit: Any) -> Any:
    return lambda pair: pair.base_tokenizer(edit)


def other(architecture: str = "", **options: Any) -> Any:
    return lambda pair: pair.other_base(architecture, **options)


WIDE: Final[Mapping[str, Any]] = {"hidden": 48, "layers": 3}

WRONG_BASES: Final[tuple[Wrong, ...]] = (
    other_base("adapter of a smaller base on a larger one", "llama", other(**WIDE), Verdict.STRUCTURE_DIFFERS),
    other_base("adapter of a larger base on a smaller one", "llama", other(), Verdict.STRUCTURE_DIFFERS, on=WIDE),
    other_base("same width, more layers", "qwen2", other(layers=3), Verdict.STRUCTURE_DIFFERS),
    other_base("same width, fewer layers", "gpt2", other(layers=1), Verdict.STRUCTURE_DIFFERS),
    other_base("same shapes, other weights", "llama", other(seed=7), Verdict.WEIGHTS_DIFFER),
    other_base("same shapes, other weights", "gpt_neox", other(seed=7), Verdict.WEIGHTS_DIFFER),
    other_base("other architecture", "qwen2", other("gpt2"), Verdict.ARCHITECTURE_DIFFERS),
    other_base("other architecture with the same module names", "llama", other("qwen2"), Verdict.ARCHITECTURE_DIFFERS),
    other_base("other architecture", "phi3", other("gpt_neox"), Verdict.ARCHITECTURE_DIFFERS),
    other_base("one bit of one weight flipped", "qwen2", one_bit, Verdict.WEIGHTS_DIFFER),
    other_base("one bit of one weight flipped", "gpt2", one_bit, Verdict.WEIGHTS_DIFFER),
    other_base("weights stored in bfloat16", "llama", tensors(halved), Verdict.STRUCTURE_DIFFERS),
    other_base(
        "two matrices of the same shape swapped",
        "llama",
        tensors(
            lambda found: (
                found
                | {
                    "model.layers.0.self_attn.o_proj.weight": found["model.layers.0.self_attn.q_proj.weight"],
                    "model.layers.0.self_attn.q_proj.weight": found["model.layers.0.self_attn.o_proj.weight"],
                }
            )
        ),
        Verdict.WEIGHTS_DIFFER,
    ),
    other_base(
        "a matrix transposed",
        "gpt2",
        tensors(lambda found: changed(found, "c_fc.weight", torch.t)),
        Verdict.STRUCTURE_DIFFERS,
    ),
    other_base(
        "an extra tensor",
        "qwen2",
        tensors(lambda found: found | {"model.extra.weight": torch.ones(4)}),
        Verdict.STRUCTURE_DIFFERS,
    ),
    other_base("output no longer tied to the embedding", "qwen2", untied, Verdict.STRUCTURE_DIFFERS),
    other_base(
        "rope_theta changed",
        "llama",
        config(rope_parameters={"rope_theta": 5e5, "rope_type": "default"}),
        Verdict.CONFIG_DIFFERS,
    ),
    other_base(
        "rope scaled", "qwen2", config(rope_scaling={"rope_type": "linear", "factor": 2.0}), Verdict.CONFIG_DIFFERS
    ),
    other_base("rms_norm_eps changed", "qwen2", config(rms_norm_eps=1e-3), Verdict.CONFIG_DIFFERS),
    other_base("layer_norm_epsilon changed", "gpt2", config(layer_norm_epsilon=1e-3), Verdict.CONFIG_DIFFERS),
    other_base("hidden_act changed", "gpt_neox", config(hidden_act="relu"), Verdict.CONFIG_DIFFERS),
    other_base(
        "use_parallel_residual changed", "gpt_neox", config(use_parallel_residual=False), Verdict.CONFIG_DIFFERS
    ),
    other_base("number of heads changed", "gpt2", config(n_head=4), Verdict.CONFIG_DIFFERS),
    other_base("sliding window set", "phi3", config(sliding_window=8), Verdict.CONFIG_DIFFERS),
    other_base("weights declared quantized", "llama", quantized, Verdict.CONFIG_DIFFERS, peft=False),
    other_base("model code brought along", "qwen2", with_code, Verdict.CODE_DIFFERS, peft=False),
    other_base("a vision tower beside the language model", "llama", with_tower, Verdict.COMPONENT_MISSING),
    other_base("two tokens swapped in the vocabulary", "qwen2", tokenizer(swapped_tokens), Verdict.TOKENIZER_DIFFERS),
    other_base("a merge missing", "gpt2", tokenizer(fewer_merges), Verdict.TOKENIZER_DIFFERS),
    other_base("a token added", "llama", tokenizer(more_tokens), Verdict.TOKENIZER_DIFFERS),
    other_base("a normalizer that lowers case", "phi3", tokenizer(lowercased), Verdict.TOKENIZER_DIFFERS),
    other_base("a space put before every text", "gpt_neox", tokenizer(with_prefix_space), Verdict.TOKENIZER_DIFFERS),
    other_base(
        "another token ends the turn",
        "qwen2",
        lambda pair: pair.base_roles(eos_token="<|endoftext|>"),
        Verdict.TOKENIZER_DIFFERS,
    ),
    other_base("no tokenizer", "llama", without_tokenizer, Verdict.TOKENIZER_DIFFERS),
    broken_base(
        "a tensor of the base missing",
        "gpt_neox",
        tensors(lambda found: without(found, "layers.1.attention.dense.weight")),
        Reason.BASE_FILES_INCONSISTENT,
    ),
    broken_base("the base's weights truncated", "qwen2", truncated, Reason.SAFETENSORS_INVALID),
    broken_base("weights and an index beside each other", "llama", with_index, Reason.BASE_FILES_INCONSISTENT),
    broken_base("an adapter among the base's files", "qwen2", with_adapter, Reason.BASE_UNSAFE_FILES, peft=False),
    broken_base("pickled weights among the base's files", "gpt2", with_pickle, Reason.BASE_UNSAFE_FILES),
    broken_base("config.json with a key twice", "llama", with_config_twice, Reason.BASE_NOT_A_MODEL),
)
