"""Penalties and biases: changes to the logits of the few tokens that a request has seen or named."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from services.inference.engine.protocol import Sampling

_LEAST: Final = 1e-30
"""Lowest factor that float32 can divide a logit by."""


class Changes:
    """What the penalties and biases of one row do to its logits, kept for each of its tokens.

    A logit x becomes ``(x · factor where x < 0, else x / factor) + shift``: the repetition penalty is the factor, the
    other penalties and the bias are the shift, as OpenAI defines them.
    """

    def __init__(self, sampling: Sampling, prompt_ids: Iterable[int], vocabulary_size: int) -> None:
        """Begin with the prompt, as far as a penalty asks for it; tokens that have no logit are left out."""
        self._sampling = sampling
        seen = set(prompt_ids) if sampling.repetition_penalty != 1 else set()
        known = [token for token in sorted(seen | set(sampling.logit_bias)) if 0 <= token < vocabulary_size]
        self._slots = {token: slot for slot, token in enumerate(known)}
        self._answered: set[int] = set()
        self._ids = np.array(known, np.int64)
        self._factor = max(sampling.repetition_penalty, _LEAST)
        self._factors = np.array([self._factor if token in seen else 1.0 for token in known])
        self._shifts = np.array([sampling.logit_bias.get(token, 0.0) for token in known])

    @staticmethod
    def wanted(sampling: Sampling) -> bool:
        """Whether a request changes logits at all."""
        return (
            sampling.repetition_penalty != 1
            or sampling.presence_penalty != 0
            or sampling.frequency_penalty != 0
            or len(sampling.logit_bias) > 0
        )

    def accept(self, token_id: int) -> None:
        """Take the next token of the answer."""
        slot = self._slots.get(token_id)
        if slot is None:
            slot = self._add(token_id)
        self._factors[slot] = self._factor
        self._shifts[slot] -= self._sampling.frequency_penalty
        if token_id not in self._answered:
            self._answered.add(token_id)
            self._shifts[slot] -= self._sampling.presence_penalty

    @property
    def entries(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Token ids, each once, their factors and their shifts."""
        count = len(self._slots)
        return self._ids[:count], self._factors[:count], self._shifts[:count]

    def _add(self, token_id: int) -> int:
        slot = len(self._slots)
        if slot == len(self._ids):  # room for as many again: one token comes with every step
            room = max(slot, 32)
            self._ids = np.concatenate([self._ids, np.zeros(room, np.int64)])
            self._factors = np.concatenate([self._factors, np.ones(room)])
            self._shifts = np.concatenate([self._shifts, np.zeros(room)])
        self._slots[token_id] = slot
        self._ids[slot] = token_id
        return slot


def apply(logits: torch.Tensor, changes: Sequence[tuple[int, Changes]]) -> None:
    """Change the logits of these rows, in place.

    Args:
        logits: float32 [rows, vocabulary].
        changes: indices of rows, each once, and what becomes of them.
    """
    rows = [index for index, _ in changes]
    ids, factors, shifts = zip(*(change.entries for _, change in changes), strict=True)
    lengths = [len(tokens) for tokens in ids]
    place = _on(logits.device, np.repeat(rows, lengths)), _on(logits.device, np.concatenate(ids))
    factor = _on(logits.device, np.concatenate(factors)).to(logits.dtype)
    shift = _on(logits.device, np.concatenate(shifts)).to(logits.dtype)
    before = logits[place]
    logits[place] = torch.where(before < 0, before * factor, before / factor) + shift


def _on(device: torch.device, array: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array).to(device)
