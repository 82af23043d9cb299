"""How much memory this process has taken."""

import re
import resource
import sys
from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")
_PEAK: Final = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_KIB: Final = 1024


def peak_resident_bytes() -> int:
    """Return the most memory that was resident at once so far, in bytes.

    Linux's own figure for this program: what getrusage(2) says includes the program that started it.
    """
    try:
        found = _PEAK.search(_STATUS.read_text())
    except OSError:
        found = None
    if found:
        return int(found[1]) * _KIB
    unit = 1 if sys.platform == "darwin" else _KIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
