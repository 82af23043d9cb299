"""How close base and adapter must come to what they computed when training ended."""

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import pytest
import torch

from services.common.errors import DomainError, Reason
from services.common.probe import Probe
from services.common.resource_names import AdapterVersionName
from services.inference.model import AdapterVersion
from services.inference.probe import TOLERANCES, check_effect, check_probe, coarsest
from tests.support.keys import signed
from tests.support.registry import manifest
from tests.unit.inference.engine import FakeEngine

NAME = AdapterVersionName("default", "tiny", "a" * 64)
NOTHING: Final[Mapping[str, tuple[float, ...]]] = MappingProxyType({})
F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16


async def error_of(
    base: tuple[float, ...],
    adapter: tuple[float, ...],
    found: Mapping[str, tuple[float, ...]] = NOTHING,
    *,
    dtype: torch.dtype = F32,
    prompt: tuple[int, ...] = (1, 2),
    tokens: tuple[int, ...] | None = None,
    base_name: str = "baseModels/tiny",
) -> DomainError | None:
    probe = Probe(prompt, tokens or tuple(range(len(base))), base, adapter)
    described = replace(manifest(), probe=probe)
    version = AdapterVersion(NAME, described, described.to_bytes(), signed(described))
    engine = FakeEngine({None: found.get("base", base), NAME.version: found.get("adapter", adapter)})
    try:
        await check_probe(engine, version, dtype, base_name=base_name)
    except DomainError as error:
        return error
    return None


async def test_same_logits_are_met_and_others_name_side_error_and_tolerance() -> None:
    base, adapter = (1.0, 2.0), (3.0, 4.0)
    assert await error_of(base, adapter) is None
    error = await error_of(base, adapter, {"base": (1.0, 2.5)})
    assert error is not None
    assert error.reason is Reason.PROBE_MISMATCH
    assert error.metadata == {"side": "base", "error": "0.5", "tolerance": "0.008"}
    error = await error_of(base, adapter, {"adapter": (3.5, 4.0)})
    assert error is not None
    assert error.metadata == {"side": "adapter", "error": "0.5", "tolerance": "0.008"}


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
async def test_what_is_agreed_grows_with_the_logits_and_with_the_format(dtype: torch.dtype) -> None:
    agreed = TOLERANCES[dtype].agreed
    for scale in (1.0, 40.0):
        base, adapter = (scale, -scale), (-scale, scale)
        for side in ("base", "adapter"):
            logits = base if side == "base" else adapter
            for part, fits in ((0.9, True), (1.1, False)):
                found = (logits[0] + part * agreed * scale, logits[1])
                assert (await error_of(base, adapter, {side: found}, dtype=dtype) is None) is fits


async def test_adapter_must_come_nearer_than_a_quarter_of_what_it_changes() -> None:
    base, adapter = (1.0, 1.0), (1.0, 1.002)
    assert await error_of(base, adapter, {"adapter": (1.0, 1.0016)}) is None
    assert await error_of(base, adapter, {"adapter": (1.0, 1.0012)}) is not None
    assert await error_of(base, adapter, {"adapter": base}) is not None
    # A base has no such limit: of it only the format's tolerance is asked.
    assert await error_of(base, adapter, {"base": (1.0, 1.0012)}) is None


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
async def test_no_more_is_asked_than_the_format_can_tell(dtype: torch.dtype) -> None:
    noise = TOLERANCES[dtype].noise
    base, adapter = (1.0, 1.0), (1.0, 1.0 + noise)
    assert await error_of(base, adapter, {"adapter": (1.0, 1.0 + 1.9 * noise)}, dtype=dtype) is None
    assert await error_of(base, adapter, {"adapter": (1.0, 1.0 + 2.2 * noise)}, dtype=dtype) is not None


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
async def test_logits_that_are_not_finite_are_never_met(wrong: float) -> None:
    for side in ("base", "adapter"):
        assert await error_of((1.0, 2.0), (3.0, 4.0), {side: (wrong, 2.0)}) is not None


async def test_tokens_that_this_base_does_not_have_are_a_mismatch() -> None:
    for prompt in ((16,), tuple(range(9))):
        error = await error_of((1.0,), (2.0,), prompt=prompt)
        assert error is not None
        assert "not recorded on this base" in error.message
    error = await error_of((1.0,), (2.0,), tokens=(1,))
    assert error is not None
    assert error.metadata["error"] == "inf"


def test_the_coarsest_of_all_formats_counts() -> None:
    assert coarsest("float32", "F32") is F32
    assert coarsest("float32", "F16") is F16
    assert coarsest("BF16", "float16", "F32") is BF16
    assert coarsest("bfloat16", "float32") is BF16
    assert coarsest("I64", None, 7, "float99") is F32


async def test_a_base_that_only_claims_to_be_the_same_is_named() -> None:
    off = {"base": (2.0, 1.0)}
    own = await error_of((1.0, 1.0), (1.0, 2.0), off)
    claimed = await error_of((1.0, 1.0), (1.0, 2.0), off, base_name="baseModels/copy")
    assert own is not None
    assert claimed is not None
    assert "TENON_INFERENCE_DTYPE" in own.message
    assert claimed.message.startswith("baseModels/copy alone does not compute what baseModels/tiny computed")
    assert claimed.message.endswith("Serve the adapter on baseModels/tiny.")


@pytest.mark.parametrize(("adapter", "refused"), [((1.0, 2.0), True), ((1.0, 2.0000002), False)])
async def test_an_adapter_that_changes_no_bit_is_refused(adapter: tuple[float, ...], *, refused: bool) -> None:
    described = manifest()
    version = AdapterVersion(NAME, described, described.to_bytes(), signed(described))
    engine = FakeEngine({None: (1.0, 2.0), NAME.version: adapter})
    if not refused:
        await check_effect(engine, version)
        return
    with pytest.raises(DomainError) as caught:
        await check_effect(engine, version)
    assert caught.value.reason is Reason.ADAPTER_NO_EFFECT
