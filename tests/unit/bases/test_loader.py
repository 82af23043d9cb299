"""The base loader: the same numbers as transformers' own loading, from the open files; nothing filled in or left over."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from services.common.bases.loader import LoadedBase, load_base
from services.common.errors import DomainError, Reason
from services.common.identity import open_base
from tests.support.tiny_bases import make_tiny_base, save_tokenizer

LLAMA_LIKE = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GEMMA = LLAMA_LIKE | {"head_dim": 16}
OPT = {key: LLAMA_LIKE[key] for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")}
OPT |= {"ffn_dim": 64, "max_position_embeddings": 128, "word_embed_proj_dim": 32, "eos_token_id": 2, "pad_token_id": 0}
MIXTRAL = LLAMA_LIKE | {"num_local_experts": 4}
BLOOM = {"vocab_size": 320, "hidden_size": 32, "n_layer": 2, "n_head": 2, "eos_token_id": 2, "bos_token_id": 1}
MORE: Mapping[str, Mapping[str, object]] = {
    "mistral": LLAMA_LIKE,
    "gemma": GEMMA,
    "gemma2": GEMMA,
    "qwen3": GEMMA,
    "opt": OPT,
    "mixtral": MIXTRAL,
    "bloom": BLOOM,
}
TINY = ("qwen2", "llama", "gpt2", "gpt_neox", "phi3")


def make(directory: Path, architecture: str) -> Path:
    if architecture in TINY:
        return make_tiny_base(directory, architecture)
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, **MORE[architecture])
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)  # type: ignore[no-untyped-call]  # no types
    save_tokenizer(directory, None, ())
    return directory


def load(directory: Path, dtype: torch.dtype = torch.float32) -> LoadedBase:
    with open_base(directory) as opened:
        return load_base(opened, dtype=dtype)


def logits(model: torch.nn.Module) -> torch.Tensor:
    ids = torch.arange(3, 20).unsqueeze(0)
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=ids).logits
    return found


def expected_logits(directory: Path) -> torch.Tensor:
    return logits(AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32))


@pytest.mark.parametrize("architecture", [*TINY, *MORE])
def test_computes_what_transformers_computes(architecture: str, tmp_path: Path) -> None:
    directory = make(tmp_path / "base", architecture)
    loaded = load(directory)
    assert torch.equal(logits(loaded.model), expected_logits(directory))
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert 2 in loaded.stop_token_ids


@pytest.mark.parametrize(("architecture", "prefix"), [("gpt2", "transformer."), ("bloom", "transformer.")])
def test_checkpoint_of_the_bare_model_loads_too(architecture: str, prefix: str, tmp_path: Path) -> None:
    directory = make(tmp_path / "base", architecture)
    want = expected_logits(directory)
    change(directory, lambda tensors: {name.removeprefix(prefix): data for name, data in tensors.items()})
    assert torch.equal(logits(load(directory).model), want)


def test_sharded_files_and_narrow_dtypes_load(tmp_path: Path) -> None:
    directory = make_tiny_base(tmp_path / "base", "llama")
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    save_tokenizer(tmp_path / "sharded", None, ())
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    assert torch.equal(logits(load(tmp_path / "sharded").model), expected_logits(tmp_path / "sharded"))
    assert load(tmp_path / "sharded", torch.bfloat16).model.dtype is torch.bfloat16


def test_loaded_weights_are_copies_that_the_file_cannot_reach(tmp_path: Path) -> None:
    directory = make_tiny_base(tmp_path / "base", "qwen2")
    weights = directory / "model.safetensors"
    before = weights.read_bytes()
    loaded = load(directory)
    want = logits(loaded.model)
    with weights.open("r+b") as file:
        file.seek(-1000, 2)
        file.write(bytes(1000))
    assert torch.equal(logits(loaded.model), want)
    weights.write_bytes(before)
    for parameter in loaded.model.parameters():
        parameter.zero_()
    assert weights.read_bytes() == before


def change(directory: Path, edit: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = directory / "model.safetensors"
    save_file({name: data.contiguous() for name, data in edit(load_file(path)).items()}, path, {"format": "pt"})


def change_config(directory: Path, **values: object) -> None:
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def without(name: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda tensors: {key: data for key, data in tensors.items() if not key.endswith(name)}


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (without("model.decoder.layers.1.fc1.bias"), r"lack: model\.decoder\.layers\.1\.fc1\.bias"),
        (without("fc1.bias"), "needs 2 tensors that the files lack"),
        (lambda tensors: tensors | {"model.decoder.layers.7.fc1.weight": torch.zeros(2, 2)}, "layers"),
        (lambda tensors: tensors | {"model.extra.weight": torch.zeros(2, 2)}, "belong nowhere: model.extra.weight"),
        (lambda tensors: tensors | {"model.decoder.layers.0.fc1.weight": torch.zeros(2, 2)}, "size|shape"),
    ],
)
def test_files_that_do_not_hold_exactly_the_model_are_refused(
    edit: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], words: str, tmp_path: Path
) -> None:
    directory = make(tmp_path / "base", "opt")
    change(directory, edit)
    with pytest.raises(DomainError, match=words) as caught:
        load(directory)
    assert caught.value.reason is Reason.BASE_FILES_INCONSISTENT


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}, "auto_map"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantized"),
        ({"model_type": "of_tomorrow"}, "of_tomorrow"),
        ({"architectures": ["MGMQwen2ForCausalLM"]}, "MGMQwen2ForCausalLM"),
        ({"model_type": "vit", "architectures": ["ViTModel"]}, "no causal language model"),
    ],
)
def test_what_needs_code_or_is_no_causal_model_is_not_supported(
    changes: Mapping[str, object], words: str, tmp_path: Path
) -> None:
    directory = make_tiny_base(tmp_path / "base", "qwen2")
    (directory / "modeling_x.py").write_text("raise SystemExit('ran')\n")
    change_config(directory, **changes)
    with pytest.raises(DomainError, match=words) as caught:
        load(directory)
    assert caught.value.reason is Reason.BASE_NOT_SUPPORTED


def test_kernels_named_in_the_configuration_are_not_fetched(tmp_path: Path) -> None:
    directory = make_tiny_base(tmp_path / "base", "qwen2")
    want = expected_logits(directory)
    change_config(directory, _attn_implementation="kernels-community/flash-attn3", attn_implementation="x/y")
    assert torch.equal(logits(load(directory).model), want)


def test_configuration_that_transformers_refuses_is_inconsistent(tmp_path: Path) -> None:
    directory = make_tiny_base(tmp_path / "base", "qwen2")
    change_config(directory, hidden_size="wide")
    with pytest.raises(DomainError) as caught:
        load(directory)
    assert caught.value.reason is Reason.BASE_FILES_INCONSISTENT


def test_tokenizer_is_the_pipeline_of_the_file_with_its_roles(tmp_path: Path) -> None:
    directory = make_tiny_base(tmp_path / "base", "qwen2")
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"unk_token": "<nowhere>"}))
    loaded = load(directory)
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("悟空 Wukong  !")) == "悟空 Wukong  !"
    assert loaded.tokenizer.eos_token_id == 2
    assert loaded.tokenizer.unk_token_id is None
    assert len(loaded.tokenizer) == 259
    assert loaded.context_length == 512
    assert loaded.chat_template is not None


def test_end_of_turn_of_the_template_is_a_stop_token(tmp_path: Path) -> None:
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|endoftext|>{% endfor %}"
    directory = make_tiny_base(tmp_path / "base", "qwen2", chat_template=template)
    assert load(directory).stop_token_ids == (0, 2)


def test_base_without_tokenizer_is_not_supported(tmp_path: Path) -> None:
    directory = make_tiny_base(tmp_path / "base", "qwen2")
    (directory / "tokenizer.json").unlink()
    (directory / "tokenizer_config.json").unlink()
    with pytest.raises(DomainError, match=r"tokenizer\.json") as caught:
        load(directory)
    assert caught.value.reason is Reason.BASE_NOT_SUPPORTED
