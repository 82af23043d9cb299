"""What a base computes in, by what it is stored in and what the machine is fast in."""

from collections.abc import Mapping

import pytest
import torch

from services.common.identity import BaseFingerprint, TensorLeaf
from services.inference.engine.formats import choose_dtype, stored_dtype


def stored(**parameters: int) -> BaseFingerprint:
    """The fingerprint of a base that has so many numbers of each format."""
    leaves = tuple(TensorLeaf(f"{dtype}.weight", dtype, (1, count), "0" * 64) for dtype, count in parameters.items())
    return BaseFingerprint.of(
        architecture="Qwen2ForCausalLM",
        config={"model_type": "qwen2"},
        tensors=leaves,
        modules=(),
        code_digest=None,
        tokenizer_digest=None,
        chat_template_digest=None,
        processor_digest=None,
        quantization=None,
    )


@pytest.fixture
def capabilities(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """What the processor says that it can."""
    found: dict[str, bool] = {}

    def tell() -> Mapping[str, bool]:
        return found

    monkeypatch.setattr(torch.cpu, "get_capabilities", tell)
    return found


def test_most_numbers_decide_what_is_stored() -> None:
    assert stored_dtype(stored(F32=10, BF16=1000)) is torch.bfloat16
    assert stored_dtype(stored(F32=1000, BF16=10)) is torch.float32


@pytest.mark.parametrize(
    ("format_", "able", "chosen"),
    [
        ("BF16", "avx512_bf16", torch.bfloat16),
        ("BF16", "amx_bf16", torch.bfloat16),
        ("BF16", "avx512_f", torch.float32),
        ("F16", "avx512_bf16", torch.float32),
        ("F32", "avx512_bf16", torch.float32),
    ],
)
def test_processor_computes_in_what_is_stored_where_it_multiplies_it(
    capabilities: dict[str, bool], format_: str, able: str, chosen: torch.dtype
) -> None:
    capabilities[able] = True
    assert choose_dtype(stored(**{format_: 4}), "cpu", "auto") is chosen


@pytest.mark.parametrize(
    ("format_", "native", "chosen"),
    [("BF16", True, "bfloat16"), ("BF16", False, "float32"), ("F16", False, "float16"), ("F32", True, "float32")],
)
def test_gpu_computes_in_what_is_stored(
    monkeypatch: pytest.MonkeyPatch, format_: str, native: bool, chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: native or including_emulation)
    assert choose_dtype(stored(**{format_: 4}), "cuda:0", "auto") is getattr(torch, chosen)


@pytest.mark.parametrize("wish", ["float32", "bfloat16", "float16"])
def test_wish_is_granted_whatever_is_fast(capabilities: dict[str, bool], wish: str) -> None:
    capabilities["avx512_bf16"] = True
    assert choose_dtype(stored(BF16=4), "cpu", wish) is getattr(torch, wish)
