"""A machine without a suite, for tests: a user with a home of their own, and a Python in which torch cannot be imported."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.suite import environment

FORBID = '''
"""Forbids what the offline commands must do without."""
import sys


class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers", "peft"}:
            raise RuntimeError(f"{name} was imported")


sys.meta_path.insert(0, Forbidden())
'''

REPORT = {"verdict", "reason", "message", "provenance", "version", "base", "checks", "differences"}
CHECKS = [
    "files",
    "manifest",
    "signature",
    "base",
    "config",
    "header",
    "tensors",
    "digest",
    "values",
    "effect",
    "probe",
]


@dataclass(frozen=True)
class Machine:
    """One user's account."""

    home: Path

    @property
    def own_key(self) -> Path:
        return self.home / "config" / "tenon" / "keys" / "own.pem"

    @property
    def digests(self) -> Path:
        return self.home / "cache" / "tenon" / "digests"

    def settings(self) -> dict[str, str]:
        """The environment of this user's commands."""
        forbid = self.home / "forbid"
        forbid.mkdir(parents=True, exist_ok=True)
        (forbid / "sitecustomize.py").write_text(FORBID)
        places = {f"XDG_{kind.upper()}_HOME": str(self.home / kind) for kind in ("config", "cache", "data")}
        given = environment(**places, HOME=str(self.home))
        return {**given, "PYTHONPATH": f"{forbid}:{given['PYTHONPATH']}"}

    def start(self, *arguments: str | Path, **variables: str) -> "subprocess.Popen[str]":
        """Start a command and do not wait for it; its output can be read."""
        command = [sys.executable, "-m", "cli", *map(str, arguments)]
        settings = {**self.settings(), **variables}
        return subprocess.Popen(command, text=True, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def tenon(self, *arguments: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        process = self.start(*arguments, **variables)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def verify(self, adapter: Path, base: Path, *options: str | Path) -> dict[str, Any]:
        """The report of ``tenon verify --json``, whose form is checked; ``exit`` is the exit status."""
        ran = self.tenon("verify", adapter, "--base", base, "--json", *options)
        report: dict[str, Any] = json.loads(ran.stdout)
        assert report.keys() == REPORT
        assert [check["name"] for check in report["checks"]] == CHECKS
        assert {check["outcome"] for check in report["checks"]} <= {"pass", "fail", "skipped"}
        failed = [check["outcome"] for check in report["checks"]].count("fail")
        assert {"ADMISSIBLE": (0, 0), "REFUSED": (3, 1), "UNUSABLE": (2, 1)}[report["verdict"]] == (
            ran.returncode,
            failed,
        )
        assert (report["reason"] is None) == (report["verdict"] == "ADMISSIBLE")
        assert all(
            difference.keys() == {"kind", "subject", "expected", "actual"} for difference in report["differences"]
        )
        return report

    def seal(self, adapter: Path, base: Path, *options: str | Path) -> dict[str, Any]:
        """What ``tenon seal --json`` says of an adapter that it sealed."""
        ran = self.tenon("seal", adapter, "--base", base, "--json", *options)
        assert ran.returncode == 0, ran.stderr + ran.stdout
        sealed: dict[str, Any] = json.loads(ran.stdout)
        return sealed
