"""Deleting something of a suite: the same for every kind."""

from pathlib import Path

import click

from cli.client import connect
from cli.output import print_json


def delete(data_dir: Path | None, path: str, what: str, *, as_json: bool) -> None:
    """Delete what a path names, and say so.

    Args:
        data_dir: of the suite.
        path: of REST.
        what: how people call it.
        as_json: print what the suite answers instead.

    Raises:
        DomainError: as of `Suite`; RESOURCE_IN_USE names who depends on it.
    """
    with connect(data_dir) as suite:
        deleted = suite.delete(path)
    print_json(deleted) if as_json else click.echo(f"{what} is deleted.")
