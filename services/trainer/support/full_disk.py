"""Telling a full disk from other errors. Imported by the recipe as well."""

import errno
import re
from typing import Final

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""EFBIG: a limit on the size of files stops a write exactly as a full disk does."""

_OS_ERROR: Final = re.compile(r"\(os error (\d+)\)")
"""How libraries written in Rust, safetensors among them, tell of an errno."""


def is_full_disk(error: Exception) -> bool:
    """Whether there was no room left for what was written."""
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    found = _OS_ERROR.search(str(error))
    return found is not None and int(found[1]) in _NO_ROOM
