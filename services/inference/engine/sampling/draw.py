"""Draws that depend on a seed and a number alone, so that a request's tokens do not depend on who shares its batch."""

import hashlib
import secrets
from typing import Final

_SEED_BYTES: Final = 16
_BITS: Final = 53
"""That a double holds."""


class Draws:
    """The draws of one generation. The n-th is a hash of the seed and n, whichever were asked for before."""

    def __init__(self, seed: int | None) -> None:
        """Take a seed below 2^127 in size, or draw one from the system's entropy."""
        chosen = secrets.randbits(63) if seed is None else seed
        self._seeded = hashlib.blake2b(chosen.to_bytes(_SEED_BYTES, "little", signed=True), digest_size=8)

    def uniform(self, number: int) -> float:
        """The draw of this number, in [0, 1)."""
        state = self._seeded.copy()
        state.update(number.to_bytes(8, "little"))
        return float(int.from_bytes(state.digest(), "little") >> (64 - _BITS)) * 2.0**-_BITS
