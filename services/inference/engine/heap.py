"""The process's heap."""

import ctypes


def give_back() -> None:
    """Give what was freed back to the machine.

    malloc keeps what it got back in case it is asked for again. After a base was loaded that are some 35 MB, for matrices that were
    packed: for a small base a sixth of its weights. Does nothing where the C library is not glibc.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
