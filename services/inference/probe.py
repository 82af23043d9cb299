"""Whether base and adapter, as they are loaded, compute what they computed when training ended.

The manifest records the logits of a few tokens after a short prompt, of the base alone and with the adapter. Here they are
computed again, before any request can see the adapter.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

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


async def check_probe(engine: Engine, version: AdapterVersion, dtype: torch.dtype) -> None:
    """Ask base and adapter once more what the manifest says they answered.

    Args:
        engine: has the adapter attached.
        version: whose manifest has a probe.
        dtype: the coarsest format that took part in recording the logits or takes part in computing them now.

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
            raise _mismatch(version, side, error, allowed[side], engine)


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
            f"The probe of {version.name} was not recorded on this base: its prompt has {count} tokens up to {largest}, and "
            f"the base takes {engine.context_length} tokens below {engine.vocabulary_size}. Serve the adapter on the base "
            "it was trained on.",
            {"side": "base"},
        )


def _without_probe(version: AdapterVersion) -> DomainError:
    return DomainError(
        Reason.PROBE_MISMATCH,
        f"The manifest of {version.name} records no answers to compare with, so nobody can tell that it computes here what "
        "it computed when training ended. Train it again, or serve it as declared on exactly its own base.",
    )


def _mismatch(version: AdapterVersion, side: str, error: float, tolerance: float, engine: Engine) -> DomainError:
    what = f"{version.manifest.base_model} alone" if side == "base" else f"{version.name}"
    return DomainError(
        Reason.PROBE_MISMATCH,
        f"{what} does not compute here what it computed when training ended: a logit is off by {error:.3g}, and "
        f"{tolerance:.3g} is allowed ({engine.compute}). Compute in the number format it was trained in "
        "(TENON_INFERENCE_DTYPE), or train the adapter again.",
        {"side": side, "error": f"{error:.6g}", "tolerance": f"{tolerance:.6g}"},
    )
