"""The process's heap."""

import ctypes


def give_back() -> None:
    """Give what was freed back to the machine.

    malloc keeps what it got back in case it is asked for again. While a base is packed that can be all of its matrices as they
    were before. Does nothing where the C library is not glibc.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
