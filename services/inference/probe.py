"""Whether base and adapter, as they are loaded, compute what they computed when training ended.

The manifest records the logits of a few tokens after a short prompt, of the base alone and with the adapter. Here they are
computed again, before any request can see the adapter.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import torch

from services.common.errors import DomainError, Reason
from services.common.probe import Probe
from services.inference.engine.protocol import Engine
from services.inference.model import AdapterVersion


@dataclass(frozen=True, slots=True)
class Tolerance:
    """By how much two computations may differ, relative to the largest logit recorded, which counts as 1 at least.

    Attributes:
        agreed: above this they are not the same.
        noise: below this they cannot be told apart, whatever is asked.
    """

    agreed: float
    noise: float


TOLERANCES: Final[Mapping[torch.dtype, Tolerance]] = MappingProxyType(
    {
        torch.float32: Tolerance(agreed=2e-3, noise=1e-5),
        torch.float16: Tolerance(agreed=1e-2, noise=5e-3),
        torch.bfloat16: Tolerance(agreed=1e-1, noise=5e-2),
    }
)
"""By the coarser of the formats that the logits were recorded and computed in; from the finest to the coarsest.

Measured against PEFT in float32 on random bases of Qwen2, LLaMA, GPT-2, GPT-NeoX and Phi-3, 2 to 24 layers deep and up to
1024 wide, with one to four threads: at most 7.3e-7 in float32, 2.1e-3 in float16, 2.4e-2 in bfloat16. ``noise`` is twice
that at least, and leaves float32 room for other processors and larger bases.
"""

FORMATS: Final[Mapping[str, torch.dtype]] = MappingProxyType(
    {str(dtype).removeprefix("torch."): dtype for dtype in TOLERANCES}
    | {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
)
"""Number formats as manifests and as safetensors name them."""


def coarsest(*formats: object) -> torch.dtype:
    """The coarsest of some formats by their names; names of no format that is known here do not count."""
    order = list(TOLERANCES)
    known = [FORMATS[name] for name in formats if isinstance(name, str) and name in FORMATS]
    return max(known, key=order.index, default=order[0])


PROMPT_TOKENS: Final = 16
"""Tokens of the prompt that an adapter without recorded answers is asked."""


async def check_effect(engine: Engine, version: AdapterVersion) -> None:
    """Make sure that an adapter of which nobody recorded answers changes any, however its numbers look.

    Args:
        engine: has the adapter attached.
        version: of provenance declared.

    Raises:
        DomainError: ADAPTER_NO_EFFECT.
    """
    length = min(PROMPT_TOKENS, engine.context_length, engine.vocabulary_size)
    prompt = tuple(range(0, engine.vocabulary_size, engine.vocabulary_size // length))[:length]
    base = await engine.next_token_logits(prompt, None)
    adapted = await engine.next_token_logits(prompt, version.name.version)
    # numpy's, for it compares in this thread alone (``engine.threads``).
    if np.array_equal(base.numpy(), adapted.numpy()):
        raise DomainError(
            Reason.ADAPTER_NO_EFFECT,
            f"The {version.label} changes nothing: after {length} tokens it computes bit for bit what its base computes. "
            "Train it again, for more steps or at a higher learning rate.",
        )


async def check_probe(engine: Engine, version: AdapterVersion, dtype: torch.dtype, *, base_name: str) -> None:
    """Ask base and adapter once more what the manifest says they answered.

    Args:
        engine: has the adapter attached.
        version: whose manifest has a probe.
        dtype: the coarsest format that took part in recording the logits or takes part in computing them now.
        base_name: of the engine's base, which may be another than the one trained on, declared derived from it.

    Raises:
        DomainError: PROBE_MISMATCH, naming the side, the error and the tolerance.
    """
    probe = version.manifest.probe
    if probe is None:
        raise _without_probe(version)
    _check_tokens(engine, version, probe)
    tolerance, scale = TOLERANCES[dtype], max(1.0, *map(abs, (*probe.base_logits, *probe.adapter_logits)))
    allowed = {
        "base": tolerance.agreed * scale,
        # An adapter is told from its base by less than half of the change it makes.
        "adapter": max(tolerance.noise * scale, min(tolerance.agreed * scale, probe.gap / 4)),
    }
    for side, adapter, recorded in (
        ("base", None, probe.base_logits),
        ("adapter", version.name.version, probe.adapter_logits),
    ):
        logits = await engine.next_token_logits(probe.prompt_token_ids, adapter)
        error = _distance(logits, probe.token_ids, recorded)
        if not error <= allowed[side]:  # NaN is not
            raise _mismatch(version, side, error, allowed[side], engine, base_name)


def _distance(logits: torch.Tensor, token_ids: tuple[int, ...], recorded: tuple[float, ...]) -> float:
    if max(token_ids) >= logits.numel():
        return math.inf
    found = logits[list(token_ids)].double()
    return float((found - torch.tensor(recorded, dtype=torch.float64)).abs().max())


def _check_tokens(engine: Engine, version: AdapterVersion, probe: Probe) -> None:
    """A prompt that this base cannot even read was not recorded on it."""
    largest, count = max(probe.prompt_token_ids), len(probe.prompt_token_ids)
    if largest >= engine.vocabulary_size or count > engine.context_length:
        raise DomainError(
            Reason.PROBE_MISMATCH,
            f"The probe of {version.label} was not recorded on this base: its prompt has {count} tokens up to {largest}, and "
            f"the base takes {engine.context_length} tokens below {engine.vocabulary_size}. Serve the adapter on the base "
            "it was trained on.",
            {"side": "base"},
        )


def _without_probe(version: AdapterVersion) -> DomainError:
    return DomainError(
        Reason.PROBE_MISMATCH,
        f"The manifest of {version.label} records no answers to compare with, so nobody can tell that it computes here what "
        "it computed when training ended. Train it again, or serve it as declared on exactly its own base.",
    )


def _mismatch(
    version: AdapterVersion, side: str, error: float, tolerance: float, engine: Engine, base_name: str
) -> DomainError:
    trained_on = version.manifest.base_model
    if base_name != trained_on:
        advice = (
            f"{base_name} is not the base it was trained on, whatever it is declared to be derived from. Serve the adapter on "
            f"{trained_on}."
        )
    else:
        advice = "Compute in the number format it was trained in (TENON_INFERENCE_DTYPE), or train the adapter again."
    what = f"{base_name} alone" if side == "base" else f"{base_name} with {version.label}"
    return DomainError(
        Reason.PROBE_MISMATCH,
        f"{what} does not compute what {trained_on} computed when the training ended: a logit is off by {error:.3g}, and "
        f"{tolerance:.3g} is allowed ({engine.compute}). {advice}",
        {"side": side, "error": f"{error:.6g}", "tolerance": f"{tolerance:.6g}"},
    )
