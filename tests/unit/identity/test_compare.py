"""Each verdict is reached by a change of its own, from full documents and from summaries."""

from typing import Any

import pytest

from services.common.errors import Reason
from services.common.identity import (
    BaseFingerprint,
    ComparisonPolicy,
    FingerprintSummary,
    Verdict,
    compare,
    explain,
    mismatch_error,
)
from tests.unit.identity.build import Base, changed, llama_tensors, llava, tensors_of
from tests.unit.identity.conftest import Fingerprint

CODE = {"auto_map": {"AutoModelForCausalLM": "m.X"}}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128}

MUTATIONS: dict[Verdict, tuple[Base, Base, str]] = {
    Verdict.ARCHITECTURE_DIFFERS: (Base(), Base().configured(architectures=["MistralForCausalLM"]), "architecture"),
    Verdict.CODE_DIFFERS: (
        Base(files={"m.py": "a"}).configured(**CODE),
        Base(files={"m.py": "b"}).configured(**CODE),
        "code",
    ),
    Verdict.COMPONENT_MISSING: (
        llava(),
        llava().but(tensors={name: value for name, value in llava().tensors.items() if "projector" not in name}),
        "projector",
    ),
    Verdict.STRUCTURE_DIFFERS: (
        Base(),
        Base(tensors=llama_tensors() | tensors_of({"model.norm.weight": (9,)})),
        "model.norm.weight",
    ),
    Verdict.CONFIG_DIFFERS: (Base(), Base().configured(rms_norm_eps=1e-5), "rms_norm_eps"),
    Verdict.PROCESSOR_DIFFERS: (llava(), llava().configured(image_token_index=6), "processor"),
    Verdict.TOKENIZER_DIFFERS: (Base(), Base().tokenizing(normalizer={"type": "NFC"}), "tokenizer"),
    Verdict.WEIGHTS_DIFFER: (
        Base(),
        Base(tensors=changed(llama_tensors(), "model.layers.1.mlp.up_proj.weight")),
        "model.layers.1.mlp.up_proj.weight",
    ),
}


def summarized(fingerprint: BaseFingerprint) -> FingerprintSummary:
    return FingerprintSummary.from_summary(fingerprint.summary())


@pytest.mark.parametrize("verdict", MUTATIONS)
def test_each_verdict_by_its_mutation(verdict: Verdict, fingerprint: Fingerprint) -> None:
    before, after, subject = MUTATIONS[verdict]
    expected, actual = fingerprint(before), fingerprint(after)
    comparison = compare(expected, actual)
    assert comparison.verdict is verdict
    assert not comparison.admissible
    assert comparison.differences[0].kind is verdict
    assert comparison.differences[0].subject == subject
    assert compare(summarized(expected), actual).verdict is verdict


def test_the_same_base_is_exact(fingerprint: Fingerprint) -> None:
    base = fingerprint(Base())
    comparison = compare(summarized(base), fingerprint(Base(shards=3)))
    assert comparison.verdict is Verdict.EXACT
    assert comparison.admissible
    assert comparison.differences == ()


def test_all_differences_are_listed_in_order_of_precedence(fingerprint: Fingerprint) -> None:
    other = Base(tensors=tensors_of({"x.weight": (2, 2)}), config={"architectures": ["X"], "model_type": "x"})
    comparison = compare(fingerprint(Base()), fingerprint(other.tokenizing(normalizer={"type": "NFC"})))
    kinds = [difference.kind for difference in comparison.differences]
    assert kinds == sorted(kinds, key=list(Verdict).index)
    assert set(kinds) == {
        Verdict.ARCHITECTURE_DIFFERS,
        Verdict.STRUCTURE_DIFFERS,
        Verdict.CONFIG_DIFFERS,
        Verdict.TOKENIZER_DIFFERS,
    }
    assert comparison.differences[17].subject == "6 more tensors"


def test_structure_says_the_shapes_on_both_sides(fingerprint: Fingerprint) -> None:
    before, after, _ = MUTATIONS[Verdict.STRUCTURE_DIFFERS]
    difference = compare(fingerprint(before), fingerprint(after)).differences[0]
    assert (difference.expected, difference.actual) == ("F32[8]", "F32[9]")


def test_weights_of_a_summary_name_the_component(fingerprint: Fingerprint) -> None:
    other = llava().but(tensors=changed(llava().tensors, "multi_modal_projector.linear_1.weight"))
    comparison = compare(summarized(fingerprint(llava())), fingerprint(other))
    assert [difference.subject for difference in comparison.differences] == ["projector"]


@pytest.mark.parametrize(
    "change", [{"group_size": 64}, {"desc_act": True}, {"dynamic": {"lm_head": {"bits": 8}}}, {"desc_act": 1}]
)
def test_quantization_is_compared(change: dict[str, Any], fingerprint: Fingerprint) -> None:
    ours = fingerprint(Base().configured(quantization_config={**GPTQ, "desc_act": False}))
    theirs = fingerprint(Base().configured(quantization_config={**GPTQ, "desc_act": False, **change}))
    comparison = compare(ours, theirs)
    assert comparison.verdict is Verdict.CONFIG_DIFFERS
    assert comparison.differences[0].subject.startswith("quantization")


def test_quantized_against_plain(fingerprint: Fingerprint) -> None:
    comparison = compare(fingerprint(Base()), fingerprint(Base().configured(quantization_config=GPTQ)))
    assert comparison.verdict is Verdict.CONFIG_DIFFERS
    assert comparison.differences[0].expected is None


class TestDerivatives:
    allowed = ComparisonPolicy(allow_derivatives=True)

    def half(self) -> Base:
        return Base(
            tensors={name: ("F16", shape, data[: len(data) // 2]) for name, (_, shape, data) in llama_tensors().items()}
        )

    def test_pass_only_where_policy_allows(self, fingerprint: Fingerprint) -> None:
        root = fingerprint(Base())
        half = fingerprint(self.half()).derived(root.id)
        assert compare(root, half).verdict is Verdict.STRUCTURE_DIFFERS
        comparison = compare(root, half, policy=self.allowed)
        assert comparison.verdict is Verdict.DERIVATIVE
        assert comparison.differences
        assert comparison.admissible

    def test_of_the_same_root_pass_both_ways(self, fingerprint: Fingerprint) -> None:
        root = fingerprint(Base())
        half = fingerprint(self.half()).derived(root.id)
        other = fingerprint(Base().configured(rms_norm_eps=1e-5)).derived(root.id)
        assert compare(half, other, policy=self.allowed).verdict is Verdict.DERIVATIVE
        assert compare(half, root, policy=self.allowed).verdict is Verdict.DERIVATIVE

    def test_of_another_root_do_not(self, fingerprint: Fingerprint) -> None:
        half = fingerprint(self.half())
        assert compare(fingerprint(Base()), half, policy=self.allowed).verdict is Verdict.STRUCTURE_DIFFERS
        astray = half.derived("ab" * 32)
        assert compare(fingerprint(Base()), astray, policy=self.allowed).verdict is Verdict.STRUCTURE_DIFFERS

    def test_with_another_tokenizer_do_not(self, fingerprint: Fingerprint) -> None:
        root = fingerprint(Base())
        other = fingerprint(self.half().tokenizing(normalizer={"type": "NFC"})).derived(root.id)
        assert compare(root, other, policy=self.allowed).verdict is Verdict.STRUCTURE_DIFFERS


@pytest.mark.parametrize("verdict", MUTATIONS)
def test_explanations_are_a_few_lines_that_name_both_bases(verdict: Verdict, fingerprint: Fingerprint) -> None:
    before, after, subject = MUTATIONS[verdict]
    text = explain(
        compare(fingerprint(before), fingerprint(after)), expected_name="qwen-small", actual_name="qwen-large"
    )
    first, *_, last = text.splitlines()
    assert first.startswith("The adapter was trained on qwen-small (")
    assert "this base is qwen-large (" in first
    assert subject in text
    assert last.startswith("Serve the adapter on qwen-small, or train it again on qwen-large")
    assert len(text.splitlines()) <= 8


def test_a_mismatch_is_an_error_with_both_ids(fingerprint: Fingerprint) -> None:
    before, after, _ = MUTATIONS[Verdict.TOKENIZER_DIFFERS]
    comparison = compare(fingerprint(before), fingerprint(after))
    error = mismatch_error(comparison, expected_name="a", actual_name="b")
    assert error.reason is Reason.BASE_FINGERPRINT_MISMATCH
    assert error.metadata == {
        "verdict": "TOKENIZER_DIFFERS",
        "expected_id": comparison.expected_id,
        "actual_id": comparison.actual_id,
    }


def test_a_summary_that_hides_the_difference_is_still_refused(fingerprint: Fingerprint) -> None:
    before, after, _ = MUTATIONS[Verdict.WEIGHTS_DIFFER]
    actual = fingerprint(after)
    forged = {**fingerprint(before).summary(), "component_roots": actual.summary()["component_roots"]}
    comparison = compare(FingerprintSummary.from_summary(forged), actual)
    assert comparison.verdict is Verdict.WEIGHTS_DIFFER


def test_two_summaries_name_the_configuration_s_keys(fingerprint: Fingerprint) -> None:
    expected, actual = fingerprint(Base()), fingerprint(Base().configured(rms_norm_eps=1e-5))
    (difference,) = compare(summarized(expected), summarized(actual)).differences
    assert (difference.subject, difference.expected, difference.actual) == ("rms_norm_eps", "0.000001", "0.00001")


def test_a_refusal_between_summaries_shows_keys_before_digests(fingerprint: Fingerprint) -> None:
    larger = Base(tensors=llama_tensors() | tensors_of({"model.norm.weight": (9,)}))
    larger = larger.configured(hidden_size=9, layer_names=["x" * 40, "y" * 40], only_here=1)
    expected, actual = summarized(fingerprint(larger)), summarized(fingerprint(Base()))
    text = explain(compare(expected, actual), expected_name="large", actual_name="small").splitlines()
    assert text[0].startswith("The adapter was trained on large (")
    assert text[2] == "  hidden_size: trained on 9, here 8"
    assert text[3].startswith("  structure: trained on ")
    assert text[4] == f'  layer_names: trained on ["{"x" * 40}","{"y" * 15}…, here none'
    assert text[-1] == "Serve the adapter on large, or train it again on small."


def test_a_refusal_for_a_component_names_it_first(fingerprint: Fingerprint) -> None:
    before, after, component = MUTATIONS[Verdict.COMPONENT_MISSING]
    comparison = compare(summarized(fingerprint(before)), summarized(fingerprint(after)))
    text = explain(comparison, expected_name="whole", actual_name="part").splitlines()
    assert text[2].startswith(f"  {component}: trained on ")
    assert text[2].endswith(", here none")
