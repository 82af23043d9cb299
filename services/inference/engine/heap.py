"""The process's heap."""

import ctypes
import mmap
from typing import Final

from torch import Tensor

PAGE: Final = mmap.PAGESIZE


def give_back() -> None:
    """Give what was freed back to the machine.

    malloc keeps what it got back in case it is asked for again. While a base is packed that can be all of its matrices as they
    were before. Does nothing where the C library is not glibc.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def drop(tensor: Tensor) -> None:
    """Give the memory of a contiguous tensor on the CPU back while the tensor lives; what it holds is lost.

    For a matrix that is being copied part by part and of which nobody else has a view. Does nothing where the machine cannot.
    """
    begin = -(-tensor.data_ptr() // PAGE) * PAGE
    end = (tensor.data_ptr() + tensor.nbytes) // PAGE * PAGE
    advise = getattr(ctypes.CDLL(None), "madvise", None)
    if advise is not None and end > begin:
        advise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)
