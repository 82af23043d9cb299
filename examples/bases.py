"""Makes the small base models that the demo trains adapters on: `python -m examples.bases [--dir DIR]`.

Two Qwen2 models of different size and one GPT-2, from nothing, in plain Hugging Face layout. They are made once and
kept; a base whose recipe has changed since is made anew.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from examples.base_models.build import ensure, is_current
from examples.base_models.recipe import RECIPES

BASE_NAMES = tuple(recipe.name for recipe in RECIPES)


def default_directory() -> Path:
    """Answer where the bases are kept: `$XDG_CACHE_HOME/tenon/examples/bases`, or the same under ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "tenon" / "examples" / "bases"


def ensure_bases(
    directory: Path,
    progress: Callable[[str], None],
    *,
    only: Sequence[str] = BASE_NAMES,
    force: bool = False,
) -> dict[str, Path]:
    """Make the bases named in `only` under `directory` where they are not there yet; answer where each one is.

    `progress` is called with one line of text now and then. With `force`, they are made even if they are there.
    Raises `OSError` where `directory` cannot be written.
    """
    recipes = [recipe for recipe in RECIPES if recipe.name in only]
    missing = [recipe for recipe in recipes if force or not is_current(directory / recipe.name, recipe)]
    if len(missing) == 1:
        ensure(directory, missing, progress, force=force)
    else:
        _make_side_by_side(directory, [recipe.name for recipe in missing], progress)
    return {recipe.name: directory / recipe.name for recipe in recipes}


def _make_side_by_side(directory: Path, names: Sequence[str], progress: Callable[[str], None]) -> None:
    """Make each base in a process of its own, as many at a time as there are cores."""

    def make(name: str) -> None:
        command = [sys.executable, "-m", "examples.bases", "--dir", str(directory), "--only", name, "--force"]
        root = Path(__file__).resolve().parent.parent
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
            for line in process.stdout or ():
                progress(line.rstrip())
        if process.returncode:
            raise ChildProcessError(f"making {name} ended with status {process.returncode}")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(make, names):
            pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; answer its exit status."""
    options = _parser().parse_args(arguments)
    disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    started = time.monotonic()
    only = options.only or BASE_NAMES
    bases = ensure_bases(options.dir, _say, only=only, force=options.force)
    _say(f"{', '.join(bases)}: in {options.dir}")
    _say(f"ready in {time.monotonic() - started:.1f} s")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.bases", description="Make the demo's base models.")
    parser.add_argument("--dir", type=Path, default=default_directory(), help="where they are kept (%(default)s)")
    parser.add_argument("--only", action="append", choices=BASE_NAMES, metavar="NAME", help="make this one only")
    parser.add_argument("--force", action="store_true", help="make them even if they are there already")
    return parser


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
