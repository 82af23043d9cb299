"""Bases and adapters that the pairs are made of, each made once."""

import re
from pathlib import Path
from typing import Any, Final

from services.common.identity import BaseFingerprint, fingerprint_base
from tests.contract.inference.samples import make_adapter
from tests.support.tiny_bases import make_tiny_base

MERGES: Final = (("h", "e"), ("l", "l"), ("he", "ll"))
_UNFIT: Final = re.compile(r"[^a-z0-9]+")


class Samples:
    """What was made so far, below a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fingerprints: dict[Path, BaseFingerprint] = {}

    @property
    def bases(self) -> Path:
        """Below it lie all bases."""
        return self._directory / "bases"

    def base(self, architecture: str, **options: Any) -> Path:
        """A tiny base."""
        directory = self.bases / slug(architecture, options)
        if not directory.exists():
            make_tiny_base(directory, architecture, merges=MERGES, **options)
        return directory

    def adapter(self, architecture: str, base: Path, **settings: Any) -> Path:
        """An adapter of a base, as PEFT saves it with these settings."""
        directory = self._directory / "adapters" / base.name / slug("adapter", settings)
        if not directory.exists():
            make_adapter(base, directory, architecture, **settings)
        return directory

    def fingerprint(self, base: Path) -> BaseFingerprint:
        """Of a base that does not change any more."""
        if base not in self._fingerprints:
            self._fingerprints[base] = fingerprint_base(base, threads=1)
        return self._fingerprints[base]


def slug(*parts: object) -> str:
    """A name for files and resources."""
    return _UNFIT.sub("-", " ".join(map(str, parts)).lower()).strip("-")
