"""Ctrl-C while tensors are hashed, again and again: in threads that wait for one another there is always a worse moment."""

import random
import signal
import subprocess
import sys
import time

import pytest

from tests.support.suite import environment

INTERRUPTS = 80

HASHING = """
from types import SimpleNamespace

from services.common.identity import contents

contents.CHUNK_BYTES = 4096
file = SimpleNamespace(
    identity="", header_digest="", check_unchanged=lambda: None, read_into=lambda buffer, position: len(buffer),
    entries=[SimpleNamespace(name="weight", begin=0, end=4096 * 4096)],
)
while True:
    try:
        print("begins", flush=True)
        contents.content_digests([file], threads=2)
    except KeyboardInterrupt:
        pass
    print("ended", flush=True)
"""
"""Many small chunks: one result after the other."""


@pytest.mark.timeout(60)
def test_it_ends_whenever_the_interrupt_comes() -> None:
    choice = random.Random(0)
    arguments = [sys.executable, "-c", HASHING]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment()) as hashing:
        assert hashing.stdout is not None
        try:
            for _ in range(INTERRUPTS):
                assert hashing.stdout.readline() == "begins\n"
                time.sleep(choice.uniform(0, 0.05))
                hashing.send_signal(signal.SIGINT)
                assert hashing.stdout.readline() == "ended\n"
        finally:
            hashing.kill()
