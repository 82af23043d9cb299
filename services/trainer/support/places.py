"""Refusals that name files, and not where on this machine they lie."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.common.errors import DomainError


@contextmanager
def without_place(directory: Path, called: str) -> Iterator[None]:
    """Raise what is raised within the block without the path of a directory.

    Args:
        directory: that texts may name.
        called: what people call it, at the beginning of a sentence.
    """
    try:
        yield
    except DomainError as error:
        text = error.message.replace(f"{directory}/", "").replace(str(directory), called)
        raise DomainError(error.reason, text, error.metadata, violations=error.violations) from None
