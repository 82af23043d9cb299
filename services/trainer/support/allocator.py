"""How the C library's allocator treats what is large."""

import ctypes
from typing import Final

from services.common.settings import MIB

_M_MMAP_THRESHOLD: Final = -3  # malloc.h
_LARGE_BYTES: Final = MIB // 4


def give_large_blocks_back() -> None:
    """Have blocks of 256 KiB and more come from the system and go back there, each by itself.

    Once a larger block was freed, glibc takes all up to its size from heaps instead (mallopt(3), "dynamic"): a check of
    some million rows frees 8 MiB, after which the pieces of uploads, of 1 MiB, left holes of 50 MB in the heaps. Elsewhere
    than with glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
