"""What is no base, and says so in a sentence a person can act on."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from services.common.errors import DomainError, Reason
from services.common.identity import fingerprint_base, open_base
from tests.unit.identity.build import (
    Base,
    gpt2,
    gpt2_tensors,
    llama_tensors,
    llava,
    safetensors_bytes,
    tensor,
    without,
)

INDEX = "model.safetensors.index.json"
SHARD = "model-00001-of-00002.safetensors"


def refusal(directory: Path) -> DomainError:
    with pytest.raises(DomainError) as caught:
        fingerprint_base(directory)
    assert caught.value.message.endswith(".")
    return caught.value


def edit_index(directory: Path, edit: Callable[[dict[str, object]], object]) -> None:
    index = json.loads((directory / INDEX).read_text())
    edit(index["weight_map"])
    (directory / INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_directory_that_lacks_a_file_is_no_model(name: str, tmp_path: Path) -> None:
    directory = Base().write(tmp_path / "base")
    (directory / name).unlink()
    error = refusal(directory)
    assert error.reason is Reason.BASE_NOT_A_MODEL
    assert name in error.message


def test_what_is_no_directory_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "absent", tmp_path / "file"):
        assert refusal(path).reason is Reason.BASE_NOT_A_MODEL


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "\xff",
        '{"a": 1, "a": 2}',
        "{}",
        '{"architectures": ["X"]}',
        '{"model_type": "llama"}',
        '{"architectures": [1], "model_type": "llama"}',
        '{"a":' * 500 + "1" + "}" * 500,
        "[" * 9999,
        '{"a": "\\ud800"}',
    ],
)
def test_a_config_that_describes_no_model(text: str, tmp_path: Path) -> None:
    directory = Base().write(tmp_path / "base")
    (directory / "config.json").write_text(text, encoding="latin-1")
    assert refusal(directory).reason is Reason.BASE_NOT_A_MODEL


@pytest.mark.parametrize(
    "text", ["", "[]", '{"model": 1}', '{"model": {"merges": ["a b c"]}}', '{"model": {}, "added_tokens": 1}']
)
def test_a_tokenizer_that_is_none(text: str, tmp_path: Path) -> None:
    directory = Base().write(tmp_path / "base")
    (directory / "tokenizer.json").write_text(text)
    assert refusal(directory).reason is Reason.BASE_NOT_A_MODEL


def test_a_document_above_its_limit(tmp_path: Path) -> None:
    directory = Base().write(tmp_path / "base")
    with (directory / "config.json").open("ab") as file:
        file.truncate(5 * 1024 * 1024)
    assert refusal(directory).reason is Reason.LIMIT_EXCEEDED


@pytest.mark.parametrize(
    "name",
    [
        "adapter_config.json",
        "pytorch_model.bin",
        "pytorch_model-00001-of-00002.bin",
        "model.pt",
        "x.pth",
        "w.ckpt",
        "w.pkl",
    ],
)
def test_unsafe_files_beside_the_weights(name: str, tmp_path: Path) -> None:
    directory = Base().write(tmp_path / "base")
    (directory / name).write_text("{}")
    error = refusal(directory)
    assert error.reason is Reason.BASE_UNSAFE_FILES
    assert name in error.message


def test_pickle_weights_alone(tmp_path: Path) -> None:
    directory = Base().write(tmp_path / "base")
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    assert refusal(directory).reason is Reason.BASE_UNSAFE_FILES


@pytest.mark.parametrize("magic", [b"PK\x03\x04\x00\x00\x08\x08", b"\x80\x02\x8a\x0al\xfc\x9cF"])
def test_a_pickle_that_calls_itself_safetensors(magic: bytes, tmp_path: Path) -> None:
    directory = Base().write(tmp_path / "base")
    (directory / "model.safetensors").write_bytes(magic + b"\x00" * 64)
    assert refusal(directory).reason is Reason.BASE_UNSAFE_FILES


def test_what_a_trainer_leaves_behind_is_no_weight(tmp_path: Path) -> None:
    directory = Base(files={"training_args.bin": "x", "optimizer.pt": "x", "rng_state_0.pth": "x"}).write(
        tmp_path / "b"
    )
    assert fingerprint_base(directory).id


def test_single_file_and_index_together(tmp_path: Path) -> None:
    directory = Base(shards=2).write(tmp_path / "base")
    (directory / "model.safetensors").write_bytes(safetensors_bytes(llama_tensors()))
    assert refusal(directory).reason is Reason.BASE_FILES_INCONSISTENT


@pytest.mark.parametrize(
    "place",
    [
        "../x.safetensors",
        "/etc/x.safetensors",
        "a/b.safetensors",
        "..",
        "",
        1,
        None,
        "x.bin",
        ".safetensors",
        "a\\b.safetensors",
    ],
)
def test_an_index_cannot_name_other_places(place: object, tmp_path: Path) -> None:
    directory = Base(shards=2).write(tmp_path / "base")
    edit_index(directory, lambda places: places.update({"model.norm.weight": place}))
    assert refusal(directory).reason is Reason.BASE_FILES_INCONSISTENT


@pytest.mark.parametrize(
    "edit",
    [
        lambda places: places.pop("model.norm.weight"),
        lambda places: places.update({"ghost.weight": SHARD}),
        lambda places: places.update({"model.norm.weight": "model-00009-of-00009.safetensors"}),
        lambda places: places.update(dict.fromkeys(places, SHARD)),
        lambda places: places.clear(),
    ],
    ids=["unlisted", "ghost", "missing shard", "wrong shard", "empty"],
)
def test_an_index_must_equal_the_tensors(edit: Callable[[dict[str, object]], object], tmp_path: Path) -> None:
    directory = Base(shards=2).write(tmp_path / "base")
    edit_index(directory, edit)
    assert refusal(directory).reason is Reason.BASE_FILES_INCONSISTENT


def test_an_index_with_a_tensor_twice(tmp_path: Path) -> None:
    directory = Base(shards=2).write(tmp_path / "base")
    text = (directory / INDEX).read_text()
    (directory / INDEX).write_text(text.replace('"weight_map": {', f'"weight_map": {{"model.norm.weight": "{SHARD}", '))
    assert refusal(directory).reason is Reason.BASE_NOT_A_MODEL


def test_truncated_weights(tmp_path: Path) -> None:
    directory = Base().write(tmp_path / "base")
    os.truncate(directory / "model.safetensors", 3000)
    assert refusal(directory).reason is Reason.SAFETENSORS_INVALID


def test_weights_without_a_tensor(tmp_path: Path) -> None:
    assert refusal(Base(tensors={}).write(tmp_path / "base")).reason is Reason.BASE_NOT_A_MODEL


def test_a_pipe_in_place_of_a_file_does_not_hang(tmp_path: Path) -> None:
    directory = Base().write(tmp_path / "base")
    (directory / "model.safetensors").unlink()
    os.mkfifo(directory / "model.safetensors")
    assert refusal(directory).reason is Reason.BASE_NOT_A_MODEL


def test_links_are_followed_as_the_hub_cache_needs(tmp_path: Path) -> None:
    directory = Base().write(tmp_path / "base")
    linked = tmp_path / "snapshot"
    linked.mkdir()
    for path in directory.iterdir():
        (linked / path.name).symlink_to(path)
    assert fingerprint_base(linked) == fingerprint_base(directory)


INCOMPLETE = {
    "a layer's tensor": Base(tensors=without(llama_tensors(), ["model.layers.1.self_attn.k_proj.weight"])),
    "a tensor of every layer": Base(
        tensors=without(llama_tensors(), [f"model.layers.{i}.mlp.up_proj.weight" for i in range(2)])
    ),
    "a whole layer": Base(tensors=llama_tensors(1)),
    "the embedding": Base(tensors=without(llama_tensors(), ["model.embed_tokens.weight"])),
    "an untied output": Base(tensors=without(llama_tensors(), ["lm_head.weight"])),
    "biases that are announced": Base().configured(attention_bias=True),
    "a layer too many": Base(tensors=llama_tensors(3)),
    "a bias of one layer": Base(tensors={**llama_tensors(), "model.layers.0.mlp.up_proj.bias": tensor("b", (12,))}),
    "gpt-2's final norm": gpt2().but(tensors=without(gpt2_tensors(), ["transformer.ln_f.bias"])),
    "the vision tower": llava().but(
        tensors={name: value for name, value in llava().tensors.items() if not name.startswith("vision_tower")}
    ),
}


@pytest.mark.parametrize("missing", INCOMPLETE)
def test_what_the_architecture_needs_must_be_there(missing: str, tmp_path: Path) -> None:
    error = refusal(INCOMPLETE[missing].write(tmp_path / "base"))
    assert error.reason is Reason.BASE_FILES_INCONSISTENT
    assert "not complete" in error.message


def test_a_hostile_layer_count_takes_no_memory(tmp_path: Path) -> None:
    assert (
        refusal(Base().configured(num_hidden_layers=10**15).write(tmp_path / "b")).reason
        is Reason.BASE_FILES_INCONSISTENT
    )


def test_code_that_is_named_must_be_there(tmp_path: Path) -> None:
    for number, reference in enumerate(["modeling_x.X", "../evil.X", "a/b.X"]):
        base = Base().configured(auto_map={"AutoModel": reference})
        assert refusal(base.write(tmp_path / str(number))).reason is Reason.BASE_FILES_INCONSISTENT


def test_a_base_without_any_tokenizer_has_no_tokenizer_digest(tmp_path: Path) -> None:
    directory = Base(tokenizer=None, tokenizer_config=None).write(tmp_path / "base")
    with open_base(directory) as base:
        assert base.tokenizer_json is None
        assert base.fingerprint().tokenizer_digest is None
