import os
from pathlib import Path

from cli.suite.logs import TAIL_BYTES, open_log, tail


def write(path: Path, text: str, *, rotate_bytes: int = 10) -> None:
    descriptor = open_log(path, rotate_bytes=rotate_bytes)
    os.write(descriptor, text.encode())
    os.close(descriptor)


def test_a_small_log_goes_on(tmp_path: Path) -> None:
    write(tmp_path / "a.log", "one")
    write(tmp_path / "a.log", "two")
    assert (tmp_path / "a.log").read_text() == "onetwo"


def test_a_large_log_moves_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    for number in range(6):
        write(tmp_path / "a.log", f"{number}" * 10)
    assert {path.name: path.read_text()[0] for path in tmp_path.iterdir()} == {
        "a.log": "5",
        "a.log.1": "4",
        "a.log.2": "3",
        "a.log.3": "2",
    }


def test_the_tail_is_bounded(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("".join(f"line {number}\n" for number in range(1000)))
    assert tail(log).splitlines() == [f"line {number}" for number in range(985, 1000)]
    log.write_bytes(b"\xff" * 100_000)
    assert len(tail(log)) <= TAIL_BYTES
    assert tail(tmp_path / "missing.log") == ""
