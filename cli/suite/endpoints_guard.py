"""Removes a file when its parent is gone: `python -I -S endpoints_guard.py FILE INODE`, with a pipe as standard input.

A supervisor that is killed with SIGKILL cannot remove DIR/run/endpoints.json, and whoever waits for that file would
take the addresses of the dead suite for those of the one that starts.
"""

import sys
from contextlib import suppress
from pathlib import Path


def main(file: Path, inode: int) -> None:
    """Wait for the end of standard input, then remove the file, unless it is another one by now."""
    sys.stdin.buffer.read()
    with suppress(OSError):
        if file.stat().st_ino == inode:
            file.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
