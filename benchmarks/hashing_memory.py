"""How much memory fingerprinting a base takes beyond what the process had before; run as a process of its own.

    python -m benchmarks.hashing_memory DIRECTORY

Prints bytes: the kernel's high-water mark of resident memory, less what was resident when the base was opened.
"""

import sys
from pathlib import Path

from services.common.identity import open_base


def main() -> None:
    """Fingerprint and print."""
    with open_base(Path(sys.argv[1])) as opened:
        before = resident("VmRSS")
        opened.fingerprint()
    print(resident("VmHWM") - before)


def resident(field: str) -> int:
    """A figure of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    main()
