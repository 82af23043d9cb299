import math
import struct

import pytest

from services.common.admission.config import parse_config
from services.common.admission.tensors import plan_adapter
from services.common.admission.values import check_values
from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint
from tests.unit.admission.build import BASE_TENSORS, PREFIX, Adapter, filled, lora_tensors
from tests.unit.admission.test_config import configured

LAYER = f"{PREFIX}model.layers.0.self_attn.q_proj"
EMBEDDING = {
    f"{PREFIX}model.embed_tokens.lora_embedding_A": filled((2, 16)),
    f"{PREFIX}model.embed_tokens.lora_embedding_B": filled((8, 2)),
}


def check(adapter: Adapter, base: BaseFingerprint) -> None:
    plan = plan_adapter(parse_config(configured(**adapter.config)), adapter.entries, base.modules)
    check_values(memoryview(adapter.weights), plan, base)


def reason(adapter: Adapter, base: BaseFingerprint) -> Reason:
    with pytest.raises(DomainError) as caught:
        check(adapter, base)
    return caught.value.reason


def zeroed(adapter: Adapter, ending: str, value: float = 0.0) -> Adapter:
    zeros = {name: filled(t[1], value, t[0]) for name, t in adapter.tensors.items() if name.endswith(ending)}
    return adapter.with_tensors(zeros)


def crossed(dtype: str) -> Adapter:
    """A is zero for the second rank, B for the first: neither is zero, and their product is."""
    adapter = Adapter(lora_tensors(dtype=dtype))
    zero = filled((1,), 0.0, dtype)[2]
    changed = {}
    for name, (_, shape, data) in adapter.tensors.items():
        first, half = data[: len(zero)], len(data) // 2
        crossing = data[:half] + bytes(half) if name.endswith("lora_A.weight") else (zero + first) * shape[0]
        changed[name] = (dtype, shape, crossing)
    return adapter.with_tensors(changed)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_small_large_and_subnormal_numbers_are_finite(base: BaseFingerprint, dtype: str) -> None:
    adapter = Adapter(lora_tensors(dtype=dtype))
    words = {"F32": "<16I", "F16": "<16H", "BF16": "<16H"}[dtype]
    largest = {"F32": 0x7F7FFFFF, "F16": 0x7BFF, "BF16": 0x7F7F}[dtype]

    check(
        adapter.with_tensors({f"{LAYER}.lora_A.weight": (dtype, (2, 8), struct.pack(words, largest, 1, *[0] * 14))}),
        base,
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("position", [0, 15])
def test_one_number_that_is_not_finite_refuses(base: BaseFingerprint, dtype: str, value: float, position: int) -> None:
    _, shape, data = filled((2, 8), 0.5, dtype)
    size = len(data) // 16
    bad = filled((1,), value, dtype)[2]
    spoiled = data[: position * size] + bad + data[(position + 1) * size :]
    adapter = Adapter(lora_tensors(dtype=dtype)).with_tensors({f"{LAYER}.lora_A.weight": (dtype, shape, spoiled)})

    with pytest.raises(DomainError) as caught:
        check(adapter, base)

    assert caught.value.reason is Reason.ADAPTER_NOT_FINITE
    assert caught.value.metadata == {"tensor": f"{LAYER}.lora_A.weight"}


def test_a_number_that_is_not_finite_is_found_behind_the_first_block(base: BaseFingerprint) -> None:
    data = bytearray(4 * 600_000)
    data[-4:] = struct.pack("<f", math.nan)
    adapter = Adapter().with_tensors({f"{LAYER}.lora_A.weight": ("F32", (600_000,), bytes(data))})
    plan = plan_adapter(parse_config(configured()), Adapter().entries, base.modules)
    entry = next(entry for entry in adapter.entries if len(entry.shape) == 1)
    layers = tuple(
        layer if i else type(layer)(layer.module, "Linear", entry, layer.b, 1.0) for i, layer in enumerate(plan.layers)
    )

    with pytest.raises(DomainError) as caught:
        check_values(adapter.weights, type(plan)(layers), base)

    assert caught.value.reason is Reason.ADAPTER_NOT_FINITE


@pytest.mark.parametrize(
    "adapter",
    [
        zeroed(Adapter(), "lora_B.weight"),
        zeroed(Adapter(), "lora_B.weight", -0.0),
        zeroed(Adapter(lora_tensors(dtype="BF16")), "lora_B.weight", -0.0),
        zeroed(Adapter(lora_tensors(dtype="F16")), "lora_B.weight"),
        zeroed(Adapter(), "lora_A.weight"),
        zeroed(zeroed(Adapter(), "q_proj.lora_A.weight"), "v_proj.lora_B.weight"),
        crossed("F32"),
        crossed("BF16"),
        Adapter().configured(lora_alpha=0),
        zeroed(Adapter(), "lora_B.weight").configured(use_dora=True).with_tensors(
            {f"{PREFIX}model.layers.{n}.self_attn.{s}.lora_magnitude_vector": filled((size,))
             for n in (0, 1) for s, size in (("q_proj", 8), ("v_proj", 4))}),
        zeroed(Adapter(), "lora_B.weight").configured(modules_to_save=["lm_head"]).with_tensors(
            {f"{PREFIX}lm_head.weight": BASE_TENSORS["lm_head.weight"]}),
    ],
    ids=["B", "minus-zero", "minus-zero-bf16", "f16", "A", "one-side-each", "crossed", "crossed-bf16", "alpha", "dora",
         "the-base's-own-output"],
)  # fmt: skip
def test_an_adapter_that_changes_nothing_is_refused(base: BaseFingerprint, adapter: Adapter) -> None:
    assert reason(adapter, base) is Reason.ADAPTER_NO_EFFECT


@pytest.mark.parametrize(
    "adapter",
    [
        zeroed(Adapter(), "layers.0.self_attn.q_proj.lora_B.weight"),
        zeroed(Adapter(), "lora_B.weight").configured(lora_bias=True).with_tensors(
            {f"{PREFIX}model.layers.{n}.self_attn.{s}.lora_B.bias": filled((size,))
             for n in (0, 1) for s, size in (("q_proj", 8), ("v_proj", 4))}),
        zeroed(Adapter(), "lora_B.weight").configured(modules_to_save=["lm_head"]).with_tensors(
            {f"{PREFIX}lm_head.weight": filled((16, 8))}),
        Adapter().configured(lora_alpha=0, alpha_pattern={"q_proj": 1}),
    ],
    ids=["other-layers", "bias", "replacement", "alpha-of-some"],
)  # fmt: skip
def test_an_adapter_that_changes_something_passes(base: BaseFingerprint, adapter: Adapter) -> None:
    check(adapter, base)


def with_copy(matrix: tuple[str, tuple[int, ...], bytes], name: str = "base_layer.weight") -> Adapter:
    adapter = Adapter().configured(target_modules=["q_proj", "v_proj", "embed_tokens"]).with_tensors({**EMBEDDING})
    return adapter.with_tensors({f"{PREFIX}model.embed_tokens.{name}": matrix})


@pytest.mark.parametrize("name", ["base_layer.weight", "weight"])
def test_the_bases_own_matrix_is_passed_over(base: BaseFingerprint, name: str) -> None:
    check(with_copy(BASE_TENSORS["model.embed_tokens.weight"], name), base)


@pytest.mark.parametrize(
    "matrix",
    [filled((16, 8)), BASE_TENSORS["lm_head.weight"], filled((16, 8), 0.5, "BF16")],
    ids=["new", "other", "bf16"],
)
def test_another_matrix_than_the_bases_is_refused(
    base: BaseFingerprint, matrix: tuple[str, tuple[int, ...], bytes]
) -> None:
    assert reason(with_copy(matrix), base) is Reason.ADAPTER_NOT_SUPPORTED


def test_without_the_base_no_copy_can_be_recognised(base: BaseFingerprint) -> None:
    adapter = with_copy(BASE_TENSORS["model.embed_tokens.weight"])
    plan = plan_adapter(parse_config(configured(**adapter.config)), adapter.entries, base.modules)

    with pytest.raises(DomainError) as caught:
        check_values(adapter.weights, plan)

    assert caught.value.metadata == {"feature": "save_embedding_layers"}
