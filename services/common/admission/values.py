"""The numbers in an adapter: all of them finite, and enough of them not zero to change an answer.

Bits are looked at instead of values, because numpy has no bfloat16: a number is not finite where all bits of its exponent
are set, and zero where all bits but the sign are not.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from services.common.admission.base import is_copy
from services.common.admission.plan import BLOCK_BYTES, AdapterPlan, ByteRanges, PlannedLayer
from services.common.admission.refusals import WEIGHTS_FILE, not_supported, some
from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, TensorEntry

__all__ = ["check_copies", "check_effect", "check_finite", "check_values"]

FORMATS: Final[Mapping[str, tuple[str, int, int]]] = {
    "F32": ("<u4", 0x7F800000, 0x7FFFFFFF),
    "F16": ("<u2", 0x7C00, 0x7FFF),
    "BF16": ("<u2", 0x7F80, 0x7FFF),
}
"""By dtype: its words, the bits of its exponent, and all bits but the sign."""


def check_values(data: ByteRanges, plan: AdapterPlan, base: BaseFingerprint | None = None) -> None:
    """All checks of values, in order.

    Args:
        data: the whole file that the plan was made for.
        plan: what its tensors are for.
        base: to recognise copies of the base's own matrices; without it an adapter that brings any is refused.

    Raises:
        DomainError: ADAPTER_NOT_FINITE, ADAPTER_NOT_SUPPORTED, ADAPTER_NO_EFFECT.
    """
    check_finite(data, plan)
    check_copies(data, plan, base)
    check_effect(data, plan, base)


def check_finite(data: ByteRanges, plan: AdapterPlan) -> None:
    """Refuse NaN and infinity.

    Raises:
        DomainError: ADAPTER_NOT_FINITE, naming the tensors.
    """
    faulty = [entry.name for entry in plan.applied if not _is_finite(data, entry)]
    if faulty:
        raise DomainError(
            Reason.ADAPTER_NOT_FINITE,
            f"{some(faulty)} in {WEIGHTS_FILE} holds NaN or infinity, which would spoil every answer. Train the adapter "
            "again, at a lower learning rate.",
            {"tensor": some(faulty[:1])},
        )


def check_copies(data: ByteRanges, plan: AdapterPlan, base: BaseFingerprint | None) -> None:
    """Make sure that matrices which PEFT saved along are the base's own, so that passing them over changes nothing.

    Raises:
        DomainError: ADAPTER_NOT_SUPPORTED where one is not.
    """
    for copy in plan.copies:
        if base is None or not is_copy(data, copy.module, copy.weight, base):
            raise not_supported(
                "save_embedding_layers",
                f"{WEIGHTS_FILE} brings the whole matrix of {copy.module}, and it is not the base's own. Name it in "
                "modules_to_save if it was trained, or save the adapter again with save_embedding_layers=False.",
            )


def check_effect(data: ByteRanges, plan: AdapterPlan, base: BaseFingerprint | None = None) -> None:
    """Refuse an adapter that answers exactly like its base.

    A layer has an effect where the scale is different from zero, and for some rank both its row of A and its column of B
    are; or where a bias of lora_B is. DoRA is no exception: training moves the magnitudes only together with B, so that a
    B of zeros was never trained. A replaced module has one unless it is the base's own, which can be told where ``base``
    is given.

    Raises:
        DomainError: ADAPTER_NO_EFFECT.
    """
    if any(_has_effect(data, layer) for layer in plan.layers):
        return
    for replacement in plan.replacements:
        if replacement.bias is not None or base is None:
            return
        if not is_copy(data, replacement.module, replacement.weight, base):
            return
    raise DomainError(
        Reason.ADAPTER_NO_EFFECT,
        "The adapter changes nothing: in every layer the scale (lora_alpha) is zero, or for each rank lora_A or lora_B, so "
        "it would answer exactly like its base. Train it again, for more steps or at a higher learning rate.",
    )


def _has_effect(data: ByteRanges, layer: PlannedLayer) -> bool:
    if layer.scaling == 0:
        return False
    if layer.bias is not None and _has_nonzero(data, layer.bias):
        return True
    rank, columns = layer.a.shape
    in_a = _ranks(data, layer.a, lambda place: place // columns)
    in_b = _ranks(data, layer.b, lambda place: place % rank)
    return not in_a.isdisjoint(in_b)


def _ranks(data: ByteRanges, entry: TensorEntry, rank_of: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> set[int]:
    """The ranks for which a matrix has a number that is not zero, told from the places of its numbers."""
    _, _, magnitude = FORMATS[entry.dtype]
    found: set[int] = set()
    begin = 0
    for words in _words(data, entry):
        found.update(np.unique(rank_of(begin + np.flatnonzero(words & magnitude))).tolist())
        begin += len(words)
    return found


def _is_finite(data: ByteRanges, entry: TensorEntry) -> bool:
    _, exponent, _ = FORMATS[entry.dtype]
    return not any(((words & exponent) == exponent).any() for words in _words(data, entry))


def _has_nonzero(data: ByteRanges, entry: TensorEntry) -> bool:
    _, _, magnitude = FORMATS[entry.dtype]
    return any((words & magnitude).any() for words in _words(data, entry))


def _words(data: ByteRanges, entry: TensorEntry) -> Iterator[npt.NDArray[Any]]:
    """A tensor's bits, block by block."""
    kind, _, _ = FORMATS[entry.dtype]
    for begin in range(entry.begin, entry.end, BLOCK_BYTES):
        yield np.frombuffer(data[begin : min(begin + BLOCK_BYTES, entry.end)], kind)
