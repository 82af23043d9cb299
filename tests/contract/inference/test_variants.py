"""Every variant of LoRA that is served computes what PEFT itself computes from the same files; the others are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import torch
from safetensors.torch import load_file, save_file

from services.inference.engine.protocol import AdapterWeights
from tests.contract.inference.engines import LoadEngine
from tests.contract.inference.samples import WEIGHTS, expected_logits, make_adapter, read_adapter
from tests.contract.inference.variants import VARIANTS, options
from tests.support.tiny_bases import ARCHITECTURES

# Single steps, which these tests ask for, are never recorded.
pytestmark = pytest.mark.parametrize("load_engine", ["sequential", "batched", "native"], indirect=True)

PROMPT: Final = [*range(40, 140, 10)]
DIGEST: Final = "a" * 64
FEW: Final = ("mistral", "gemma", "gemma2", "opt")
"""Architectures with which a few variants are tried; ``test_equality`` tries others."""

CASES: Final = [
    (architecture, variant)
    for architecture in ARCHITECTURES
    for variant in VARIANTS
    if architecture not in FEW or variant in {"dora", "embedding", "all linear", "replaced both"}
]

TYING: Final = ("embedding", "output", "dora on the output", "replaced embedding", "replaced output", "replaced both")
"""Variants for which it matters whether both are one matrix."""


@pytest.mark.parametrize(("architecture", "variant"), [case for case in CASES if case[1] not in TYING])
async def test_logits_are_those_of_peft(
    architecture: str, variant: str, tiny: Callable[..., Path], load_engine: LoadEngine, tmp_path: Path
) -> None:
    await check(tiny(architecture), architecture, variant, load_engine, tmp_path)


@pytest.mark.parametrize(("architecture", "variant"), [case for case in CASES if case[1] in TYING])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
async def test_logits_are_those_of_peft_whether_the_output_is_tied_to_the_embedding_or_not(
    tied: bool, architecture: str, variant: str, tiny: Callable[..., Path], load_engine: LoadEngine, tmp_path: Path
) -> None:
    await check(tiny(architecture, tied=tied), architecture, variant, load_engine, tmp_path)


async def check(base: Path, architecture: str, variant: str, load_engine: LoadEngine, directory: Path) -> None:
    """Hold the engine's logits of base and adapter against PEFT's."""
    adapter = make_adapter(base, directory, architecture, **options(variant, architecture))
    engine, fingerprint = await load_engine(base)
    weights = read_adapter(adapter, fingerprint, DIGEST)
    attached = await engine.attach(weights)
    assert attached.applied_tensors == count(weights)
    alone, adapted = expected_logits(base, None, PROMPT), expected_logits(base, adapter, PROMPT)
    assert (alone - adapted).abs().max() > 0.1
    for name, want in ((None, alone), (DIGEST, adapted), (None, alone)):
        torch.testing.assert_close(await engine.next_token_logits(PROMPT, name), want, rtol=0, atol=2e-5)


def count(weights: AdapterWeights) -> int:
    parts = [
        *(part for layer in weights.layers for part in (layer.a, layer.b, layer.magnitude, layer.bias)),
        *(part for replaced in weights.replacements for part in (replaced.weight, replaced.bias)),
    ]
    return sum(part is not None for part in parts)


async def test_variants_answer_side_by_side_and_go_without_a_trace(
    tiny: Callable[..., Path], load_engine: LoadEngine, tmp_path: Path
) -> None:
    base = tiny()
    engine, fingerprint = await load_engine(base)
    want: dict[str | None, torch.Tensor] = {None: expected_logits(base, None, PROMPT)}
    for number, variant in enumerate(("plain", "dora", "lora_bias", "embedding", "replaced both")):
        directory = make_adapter(base, tmp_path / variant, seed=number, **options(variant, "qwen2"))
        digest = f"{number:064x}"
        await engine.attach(read_adapter(directory, fingerprint, digest))
        want[digest] = expected_logits(base, directory, PROMPT)
    for name, logits in [*want.items(), *reversed(want.items())]:
        torch.testing.assert_close(await engine.next_token_logits(PROMPT, name), logits, rtol=0, atol=2e-5)
    for name in want:
        if name is not None:
            await engine.detach(name)
    torch.testing.assert_close(await engine.next_token_logits(PROMPT, None), want[None], rtol=0, atol=2e-5)


@pytest.mark.parametrize("variant", ["plain", "dora", "embedding", "replaced both"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
async def test_logits_in_half_precision_are_those_of_peft_in_half_precision(
    dtype: torch.dtype, variant: str, tiny: Callable[..., Path], load_engine: LoadEngine, tmp_path: Path
) -> None:
    base = tiny("llama")
    adapter = make_adapter(base, tmp_path, "llama", **options(variant, "llama"))
    engine, fingerprint = await load_engine(base, dtype=dtype)
    assert engine.dtype is dtype
    await engine.attach(read_adapter(adapter, fingerprint, DIGEST))
    want = expected_logits(base, adapter, PROMPT, dtype)
    found = await engine.next_token_logits(PROMPT, DIGEST)
    assert found.dtype is torch.float32
    # Both round to the same few bits at every step; where sums end on another side of them, one bit differs.
    torch.testing.assert_close(found, want, rtol=0, atol=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16], ids=str)
async def test_adapters_stored_in_half_precision_are_computed_in_single(
    stored: torch.dtype, tiny: Callable[..., Path], load_engine: LoadEngine, tmp_path: Path
) -> None:
    base = tiny()
    adapter = make_adapter(base, tmp_path, use_dora=True, modules_to_save=["lm_head"])
    tensors = {name: tensor.to(stored) for name, tensor in load_file(adapter / WEIGHTS).items()}
    save_file(tensors, adapter / WEIGHTS, {"format": "pt"})
    engine, fingerprint = await load_engine(base)
    await engine.attach(read_adapter(adapter, fingerprint, DIGEST))
    want = expected_logits(base, adapter, PROMPT)
    torch.testing.assert_close(await engine.next_token_logits(PROMPT, DIGEST), want, rtol=0, atol=2e-5)
