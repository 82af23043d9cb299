"""Starting `child` as a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
_CHILD = (sys.executable, "-m", "tests.contract.artifacts.child")


def run_child(*arguments: str, before: tuple[str, ...] = (), cwd: Path = REPOSITORY) -> dict[str, object]:
    """Run a command of `child` to its end, behind the command line `before`, and return what it reports."""
    command = [*before, *_CHILD, *arguments]
    done = subprocess.run(command, check=False, cwd=cwd, env=_ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def start_child(command: str, root: Path) -> subprocess.Popen[str]:
    """Start a command of `child` that is to be killed."""
    return subprocess.Popen(
        [*_CHILD, command, str(root)], env=_ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
