import hashlib
import json
import os
import random
from pathlib import Path

import pytest

from services.common.errors import DomainError, Reason
from services.common.identity import fingerprint_base, open_base
from services.common.identity.contents import CHUNK_BYTES, content_digests
from services.common.identity.weights import StoredTensor, WeightsFile
from tests.unit.identity.build import (
    LLAMA_CONFIG,
    TOKENIZER,
    Base,
    changed,
    gpt2,
    llama_tensors,
    llava,
    noise,
    safetensors_bytes,
    without,
)
from tests.unit.identity.conftest import Fingerprint

GOLDEN = {
    "llama": "b07ecd8b51fff2b7147c3f79e835512abd4aed78ccfcdfb7811050c0666da665",
    "gpt2": "b73711dbc62ca9512c7cf44b4d791df23cd6ab5e2d969059a7a6c45136d62481",
    "llava": "98ccdfc6ece459d12d4dd95b7b9b383f191e6dadec45316004b27fbccc5fd7c4",
}


@pytest.mark.parametrize(("name", "base"), [("llama", Base()), ("gpt2", gpt2()), ("llava", llava())])
def test_golden_vectors(name: str, base: Base, fingerprint: Fingerprint) -> None:
    assert fingerprint(base).id == GOLDEN[name], "tenon.base/1 changed: adapters in the field would be refused"


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_independent_of_sharding(shards: int, fingerprint: Fingerprint) -> None:
    assert fingerprint(Base(shards=shards)) == fingerprint(Base())


def test_independent_of_the_order_of_tensors_and_of_metadata(fingerprint: Fingerprint) -> None:
    names = list(llama_tensors())
    random.Random(7).shuffle(names)
    shuffled = Base(tensors={name: llama_tensors()[name] for name in names})
    assert fingerprint(shuffled) == fingerprint(Base())


def test_independent_of_threads(tmp_path: Path) -> None:
    directory = Base().write(tmp_path / "base")
    assert fingerprint_base(directory, threads=1) == fingerprint_base(directory, threads=4)


@pytest.mark.parametrize(
    "change",
    [
        {"_name_or_path": "/elsewhere"},
        {"transformers_version": "4.99"},
        {"dtype": "bfloat16"},
        {"torch_dtype": "float16"},
        {"use_cache": False},
        {"attn_implementation": "flash_attention_2"},
        {"temperature": 0.7, "top_p": 0.8, "do_sample": True},
        {"eos_token_id": [1, 2], "bos_token_id": 0, "pad_token_id": 3},
        {"something_unset": None},
        {"rope_parameters": None, "rope_theta": 10000.0},
        {"rope_parameters": None, "rope_theta": 10000, "rope_scaling": None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_does_not_change_the_computation_does_not_count(
    change: dict[str, object], fingerprint: Fingerprint
) -> None:
    assert fingerprint(Base().configured(**change)).id == fingerprint(Base()).id


@pytest.mark.parametrize("change", [{"rms_norm_eps": 1e-5}, {"num_attention_heads": 4}, {"unheard_of": 1}])
def test_any_other_key_counts(change: dict[str, object], fingerprint: Fingerprint) -> None:
    assert fingerprint(Base().configured(**change)).config_digest != fingerprint(Base()).config_digest


def test_infinity_is_the_same_bare_and_tagged(tmp_path: Path) -> None:
    bare = Base().configured(limit=float("inf")).write(tmp_path / "bare")
    tagged = Base().configured(limit={"__float__": "Infinity"}).write(tmp_path / "tagged")
    assert fingerprint_base(bare).id == fingerprint_base(tagged).id
    with open_base(tagged) as base:
        assert base.config["limit"] == float("inf")


def tied(*, equal: bool) -> Base:
    tensors = llama_tensors()
    if equal:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    return Base(tensors=tensors, config={**LLAMA_CONFIG, "tie_word_embeddings": True})


def test_a_tied_output_is_left_out_when_it_equals_its_source(fingerprint: Fingerprint) -> None:
    stored_twice, base = fingerprint(tied(equal=True)), tied(equal=True)
    stored_once = fingerprint(base.but(tensors=without(base.tensors, ["lm_head.weight"])))
    assert stored_twice == stored_once
    assert "lm_head.weight" not in {leaf.name for leaf in stored_twice.tensors}
    assert "lm_head" in {module.name for module in stored_twice.modules}


def test_a_tied_output_counts_when_it_differs(fingerprint: Fingerprint) -> None:
    differing = fingerprint(tied(equal=False))
    assert "lm_head.weight" in {leaf.name for leaf in differing.tensors}
    assert differing.structure_root != fingerprint(tied(equal=True)).structure_root


def test_an_untied_output_counts_even_when_equal(fingerprint: Fingerprint) -> None:
    untied = fingerprint(tied(equal=True).configured(tie_word_embeddings=False))
    assert "lm_head.weight" in {leaf.name for leaf in untied.tensors}


def test_components_have_their_own_roots(fingerprint: Fingerprint) -> None:
    before = fingerprint(llava())
    after = fingerprint(llava().but(tensors=changed(llava().tensors, "multi_modal_projector.linear_1.weight")))
    assert set(before.component_roots) == {"language_model", "projector", "vision_tower"}
    differing = {name for name, root in before.component_roots.items() if after.component_roots[name] != root}
    assert differing == {"projector"}


def test_roots_are_the_leaves_in_byte_order(fingerprint: Fingerprint) -> None:
    names = [leaf.name.encode() for leaf in fingerprint(Base()).tensors]
    assert names == sorted(names)
    assert fingerprint(Base()).parameter_count == sum(len(data) // 4 for _, _, data in llama_tensors().values())


def test_content_is_a_tree_over_chunks_of_16_mib(tmp_path: Path) -> None:
    data = noise("chunk", 64) * (CHUNK_BYTES // 64) + b"tail"
    path = tmp_path / "big.safetensors"
    path.write_bytes(safetensors_bytes({"big": ("U8", (len(data),), data), "none": ("U8", (0,), b"")}))
    file = WeightsFile(path)
    digests = content_digests([file], threads=2)
    file.close()
    assert digests["big"] == _two_leaves(data[:CHUNK_BYTES], data[CHUNK_BYTES:])
    assert digests["none"] == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def _two_leaves(left: bytes, right: bytes) -> str:
    leaves = [hashlib.sha256(b"\x00" + chunk).digest() for chunk in (left, right)]
    return hashlib.sha256(b"\x01" + b"".join(leaves)).hexdigest()


def test_quantization_is_identity_when_stored_and_compute_when_not(fingerprint: Fingerprint) -> None:
    asked = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_compute_dtype": "float16"}
    assert fingerprint(Base().configured(quantization_config=asked)).id == fingerprint(Base()).id
    stored = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "dataset": "c4"}
    assert fingerprint(Base().configured(quantization_config=stored)).quantization == {
        "method": "gptq",
        "bits": 4,
        "group_size": 128,
        "modules": {},
        "settings": {"desc_act": False},
    }


def test_code_counts_with_all_that_it_imports(fingerprint: Fingerprint) -> None:
    auto_map = {"AutoModelForCausalLM": "modeling_x.XForCausalLM"}
    files = {"modeling_x.py": "from .helper_x import f\n", "helper_x.py": "f = 1\n", "unrelated.py": "g = 1\n"}
    base = Base(files=files).configured(auto_map=auto_map)
    digest = fingerprint(base).code_digest
    assert digest is not None
    assert fingerprint(base.but(files={**files, "helper_x.py": "f = 2\n"})).code_digest != digest
    assert fingerprint(base.but(files={**files, "unrelated.py": "g = 2\n"})).code_digest == digest
    assert fingerprint(Base()).code_digest is None


def test_the_processor_and_its_placeholder_tokens_count(fingerprint: Fingerprint) -> None:
    plain = fingerprint(llava())
    files = {"preprocessor_config.json": json.dumps({"image_size": 28, "transformers_version": "5"})}
    with_files = fingerprint(llava().but(files=files))
    other_token = fingerprint(llava().configured(image_token_index=6))
    respelled = fingerprint(llava().configured(image_token_index=None, image_token_id=5))
    assert len({plain.processor_digest, with_files.processor_digest, other_token.processor_digest}) == 3
    assert respelled.id == plain.id
    assert fingerprint(Base()).processor_digest is None


def test_a_chat_template_is_no_part_of_the_id(fingerprint: Fingerprint) -> None:
    base = fingerprint(Base())
    embedded = fingerprint(
        Base(tokenizer_config={"eos_token": "<|end|>", "pad_token": "<|pad|>", "chat_template": "T"})
    )
    apart = fingerprint(Base(files={"chat_template.jinja": "T"}))
    assert base.chat_template_digest is None
    assert embedded.chat_template_digest == apart.chat_template_digest is not None
    assert base.id == embedded.id == apart.id


def test_the_open_base_hands_out_what_was_hashed(tmp_path: Path) -> None:
    directory = Base(files={"generation_config.json": '{"top_p": 0.8}', "chat_template.jinja": "T"}).write(
        tmp_path / "b"
    )
    with open_base(directory) as base:
        fingerprint = base.fingerprint()
        (directory / "model.safetensors").unlink()
        (directory / "config.json").unlink()
        found = {t.entry.name: (t.entry.dtype, t.entry.shape, read(t)) for t in base.tensors()}
        assert found == llama_tensors()
        assert base.config == LLAMA_CONFIG
        assert json.loads(base.tokenizer_json or b"") == TOKENIZER
        assert base.generation_config == {"top_p": 0.8}
        assert base.chat_template == "T"
        assert base.special_tokens == {"eos_token": "<|end|>", "pad_token": "<|pad|>"}
        assert base.directory == directory
        assert {leaf.name for leaf in fingerprint.tensors} == set(found)


def read(tensor: StoredTensor) -> bytes:
    buffer = bytearray(tensor.nbytes)
    tensor.read_into(memoryview(buffer))
    return bytes(buffer)


def test_nothing_is_read_from_a_base_that_was_closed(tmp_path: Path) -> None:
    with open_base(Base().write(tmp_path / "base")) as base:
        tensor = next(base.tensors())
    with pytest.raises(DomainError):
        read(tensor)


def test_a_file_that_ends_early_is_refused(tmp_path: Path) -> None:
    directory = Base().write(tmp_path / "base")
    with open_base(directory) as base:
        tensors = list(base.tensors())
        os.truncate(directory / "model.safetensors", tensors[-1].entry.end - 1)
        with pytest.raises(DomainError) as caught:
            read(tensors[-1])
    assert caught.value.reason is Reason.SAFETENSORS_INVALID


def test_derivation_is_declared_and_no_part_of_the_id(tmp_path: Path) -> None:
    directory = Base().write(tmp_path / "base")
    declared = fingerprint_base(directory, derived_from="ab" * 32)
    assert declared.derived_from == declared.root == "ab" * 32
    assert declared.id == fingerprint_base(directory).id
