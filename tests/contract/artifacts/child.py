"""A process that puts blobs, to be killed or starved: `python -m tests.contract.artifacts.child COMMAND …`."""

import json
import os
import random
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from services.common.artifacts.filesystem import FileSystemStore
from services.common.artifacts.s3 import S3Server, S3Store
from services.common.artifacts.store import ArtifactStore
from services.common.errors import DomainError
from tests.contract.artifacts.backends import BUCKET
from tests.support.s3.configuration import ACCESS_KEY, REGION, SECRET_KEY

MIB = 1 << 20
PROJECT = "default"
NOBODY = 65534


def stop_half_way(root: Path) -> None:
    """Write three MiB of an upload, say so, and wait for the end."""

    def half() -> Iterator[bytes]:
        yield from [bytes(MIB)] * 3
        print("half", flush=True)
        sys.stdin.read()

    FileSystemStore.open(root).put(PROJECT, half(), max_bytes=9 * MIB)


def put_for_ever(root: Path) -> None:
    """Put one blob after the other and name each when it is acknowledged."""
    store, source = FileSystemStore.open(root), random.Random(os.getpid())
    while True:
        chunks = [source.randbytes(source.randrange(200_000)) for _ in range(4)]
        print(store.put(PROJECT, chunks, max_bytes=MIB).digest, flush=True)


def fill(root: Path) -> None:
    """Put more than the disk takes, then something small."""
    report_full(FileSystemStore.open(root), lambda: [str(path) for path in root.rglob("*") if path.is_file()])


def fill_spool(endpoint: str, prefix: str) -> None:
    """The same where it is the disk of temporary files that is full."""
    server = S3Server(endpoint, ACCESS_KEY, SECRET_KEY, REGION, secure=False)
    store, client = S3Store(server, BUCKET, prefix), server.client()
    limit_files(10 * MIB)
    report_full(
        store, lambda: [str(found.object_name) for found in client.list_objects(BUCKET, prefix, recursive=True)]
    )


def write_protected(root: Path) -> None:
    """Read and put where the directory belongs to somebody else.

    `root` is relative to a working directory that anybody may enter, since the directories above it may be private.
    """
    store = FileSystemStore.open(root)
    if os.geteuid() == 0:  # whom no permission stops
        os.setresuid(NOBODY, NOBODY, NOBODY)
    FileSystemStore.open(root)
    reasons = [reason_of(store.check), reason_of(lambda: store.put(PROJECT, [b"new"], max_bytes=9))]
    print(json.dumps({"reasons": reasons}))


def limit_files(size: int) -> None:
    """Let no file of this process grow beyond `size`, which Linux treats like a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def report_full(store: ArtifactStore, held: Callable[[], list[str]]) -> None:
    """Print how a put of 16 MiB failed, what the store holds after it, and whether a small one works."""
    reason = reason_of(lambda: store.put(PROJECT, [bytes(MIB)] * 16, max_bytes=16 * MIB))
    left = held()
    small = store.put(PROJECT, [b"small"], max_bytes=9)
    print(json.dumps({"reason": reason, "left": left, "after": store.verify(PROJECT, small.digest).size}))


def reason_of(call: Callable[[], object]) -> str | None:
    """Return the reason for which `call` is refused."""
    try:
        call()
    except DomainError as error:
        return error.reason
    return None


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["stop_half_way", directory]:
            stop_half_way(Path(directory))
        case ["put_for_ever", directory]:
            put_for_ever(Path(directory))
        case ["fill", directory]:
            fill(Path(directory))
        case ["fill_limited", directory]:
            limit_files(MIB)
            fill(Path(directory))
        case ["fill_spool", endpoint, prefix]:
            fill_spool(endpoint, prefix)
        case ["write_protected", directory]:
            write_protected(Path(directory))
