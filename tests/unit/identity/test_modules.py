"""Module names as the loaded model has them; the tables were held against transformers 5 models of each family."""

from services.common.identity import LinearModule, TensorLeaf
from services.common.identity.modules import list_modules
from tests.unit.identity.build import GPT2_CONFIG, Base, gpt2, gpt2_tensors, llava
from tests.unit.identity.conftest import Fingerprint


def leaf(name: str, *shape: int, dtype: str = "F32") -> TensorLeaf:
    return TensorLeaf(name, dtype, shape, "00" * 32)


def test_llama(fingerprint: Fingerprint) -> None:
    modules = {module.name: module for module in fingerprint(Base()).modules}
    assert modules["model.layers.0.mlp.gate_proj"] == LinearModule("model.layers.0.mlp.gate_proj", "Linear", 8, 12)
    assert modules["model.embed_tokens"].kind == "Embedding"
    assert modules["lm_head"] == LinearModule("lm_head", "Linear", 8, 16)
    assert len(modules) == 2 * 7 + 2


def test_gpt2_is_conv1d_and_has_one_name_with_and_without_prefix(fingerprint: Fingerprint) -> None:
    prefixed = fingerprint(gpt2())
    bare = fingerprint(gpt2().but(tensors=gpt2_tensors(prefix="")))
    assert prefixed.modules == bare.modules
    assert LinearModule("transformer.h.0.attn.c_attn", "Conv1D", 8, 24) in bare.modules
    assert LinearModule("lm_head", "Linear", 8, 16) in bare.modules


def test_vision_language_models_are_named_as_transformers_5_does(fingerprint: Fingerprint) -> None:
    names = {module.name for module in fingerprint(llava()).modules}
    assert names >= {
        "lm_head",
        "model.language_model.layers.0.self_attn.q_proj",
        "model.multi_modal_projector.linear_1",
        "model.vision_tower.encoder.layers.0.self_attn.q_proj",
    }


def test_experts_stored_one_by_one_are_one_module() -> None:
    stem = "model.layers.0.block_sparse_moe"
    leaves = [leaf(f"{stem}.gate.weight", 2, 8)]
    for index in range(2):
        leaves += [leaf(f"{stem}.experts.{index}.{part}.weight", 12, 8) for part in ("w1", "w3")]
        leaves.append(leaf(f"{stem}.experts.{index}.w2.weight", 8, 12))
    assert list_modules({"model_type": "mixtral"}, leaves) == (
        LinearModule("model.layers.0.mlp.experts.down_proj", "Experts", 12, 8),
        LinearModule("model.layers.0.mlp.experts.gate_up_proj", "Experts", 8, 24),
        LinearModule("model.layers.0.mlp.gate", "Router", 8, 2),
    )


def test_fused_experts_by_the_hidden_size() -> None:
    config = {"model_type": "gpt_oss", "hidden_size": 8}
    leaves = [leaf("m.experts.gate_up_proj", 2, 8, 24), leaf("m.experts.down_proj", 2, 12, 8)]
    assert list_modules(config, leaves) == (
        LinearModule("m.experts.down_proj", "Experts", 12, 8),
        LinearModule("m.experts.gate_up_proj", "Experts", 8, 24),
    )


def test_packed_weights_have_the_sizes_of_what_they_hold() -> None:
    leaves = [leaf("a.qweight", 16, 24, dtype="I32"), leaf("a.scales", 1, 24), leaf("b.weight_packed", 24, 16)]
    assert list_modules({"model_type": "x"}, leaves, bits=4) == (
        LinearModule("a", "Linear", 128, 24),
        LinearModule("b", "Linear", 128, 24),
    )


def test_awq_packs_the_other_side_than_gptq() -> None:
    awq = [leaf("a.qweight", 128, 3, dtype="I32"), leaf("a.qzeros", 1, 3, dtype="I32"), leaf("a.scales", 1, 24)]
    gptq = [leaf("a.qweight", 16, 24, dtype="I32"), leaf("a.qzeros", 1, 3, dtype="I32"), leaf("a.scales", 1, 24)]
    for leaves in (awq, gptq):
        assert list_modules({"model_type": "x"}, leaves, bits=4) == (LinearModule("a", "Linear", 128, 24),)


def test_what_bitsandbytes_packs_has_no_sizes_in_its_header() -> None:
    state = [leaf("a.weight.absmax", 48), leaf("a.weight.quant_state.bitsandbytes__nf4", 90, dtype="U8")]
    leaves = [leaf("a.weight", 1536, 1, dtype="U8"), *state, leaf("b.weight", 24, 128)]
    assert list_modules({"model_type": "x"}, leaves, bits=4) == (
        LinearModule("a", "Packed", 0, 0),
        LinearModule("b", "Linear", 128, 24),
    )


def test_norms_and_convolutions_are_no_matrices() -> None:
    leaves = [leaf("norm.weight", 8), leaf("patch.weight", 4, 3, 14, 14)]
    assert list_modules(dict(GPT2_CONFIG), leaves) == ()
