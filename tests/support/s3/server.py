"""The server process: `python -m tests.support.s3.server ROOT PORT`, until it is told to end or its parent is gone.

Prints `ready` once it listens.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from swift.common import utils

utils.monkey_patch()  # before anything else takes hold of the blocking socket and thread modules

import eventlet  # noqa: E402 - after the patch
from eventlet import wsgi  # noqa: E402 - after the patch
from eventlet.hubs import trampoline  # noqa: E402 - after the patch

from tests.support.s3.configuration import BACKENDS, DEVICE, write_server_confs, write_swift_conf  # noqa: E402

HOST = "127.0.0.1"


def main(root: Path, port: int) -> None:
    """Serve the data in `root` on `port`."""
    etc = root / "etc"
    for directory in (etc, root / "devices" / DEVICE, root / "recon"):
        directory.mkdir(parents=True, exist_ok=True)
    write_swift_conf(etc)
    _load_policies(etc)
    sockets = {name: eventlet.listen((HOST, 0)) for name in BACKENDS}
    for name in BACKENDS:
        _write_ring(etc / f"{name}.ring.gz", sockets[name].getsockname()[1])
    sockets["proxy"] = eventlet.listen((HOST, port))
    for name, path in write_server_confs(root, etc).items():
        eventlet.spawn(_serve, sockets[name], path)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print("ready", flush=True)
    _wait_for_end_of_input()


def _load_policies(etc: Path) -> None:
    from swift.common.storage_policy import reload_storage_policies

    utils.set_swift_dir(str(etc))
    reload_storage_policies()


def _write_ring(path: Path, port: int) -> None:
    from swift.common.ring import RingBuilder

    builder = RingBuilder(part_power=2, replicas=1, min_part_hours=0)
    builder.add_dev({"id": 0, "region": 1, "zone": 1, "ip": HOST, "port": port, "device": DEVICE, "weight": 1.0})
    builder.rebalance()
    builder.get_ring().save(str(path))


def _serve(listener: Any, configuration: Path) -> None:
    from swift.common.wsgi import SwiftHttpProtocol, loadapp

    wsgi.server(
        listener,
        loadapp(str(configuration), global_conf={"log_name": configuration.stem}),
        protocol=SwiftHttpProtocol,
        log_output=False,
    )


def _wait_for_end_of_input() -> None:
    """Return when the parent has closed the pipe, be it by dying."""
    descriptor = sys.stdin.fileno()
    while True:
        trampoline(descriptor, read=True)
        if not os.read(descriptor, 1024):
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), int(sys.argv[2]))
    os._exit(0)  # the green threads serve for ever
