"""How commands speak: tables and sentences for people, JSON for programs."""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.common.errors import DomainError, Reason

F = TypeVar("F", bound=Callable[..., Any])

_JSON: Final = "tenon.json"
"""Where a context remembers that JSON was asked for."""


def _remember(context: click.Context, _: click.Parameter, value: bool) -> bool:
    context.meta[_JSON] = value
    return value


# Eager, so that it is known before another option is found to be wrong.
json_option: Callable[[F], F] = click.option(
    "--json", "as_json", is_flag=True, is_eager=True, callback=_remember, help="Print JSON."
)

_UNLIMITED: Final = 100_000
"""Columns of what is no terminal: no line is broken there."""
_LEAST: Final = 4
"""Columns that a cell keeps which makes room for others."""
_GAP: Final = 2

EXIT_FAILED: Final = 1
EXIT_UNUSABLE: Final = 2
EXIT_REFUSED: Final = 3
EXIT_NOT_FOUND: Final = 4
EXIT_UNAVAILABLE: Final = 5
EXIT_INTERRUPTED: Final = 130

_EXITS: Final = {
    "INVALID_ARGUMENT": EXIT_UNUSABLE,
    "FAILED_PRECONDITION": EXIT_REFUSED,
    "UNAUTHENTICATED": EXIT_REFUSED,
    "PERMISSION_DENIED": EXIT_REFUSED,
    "NOT_FOUND": EXIT_NOT_FOUND,
    "UNAVAILABLE": EXIT_UNAVAILABLE,
}


class CommandError(Exception):
    """An error that ends a command with another exit status than the one that goes with its reason."""

    def __init__(self, error: DomainError, status: int) -> None:
        super().__init__(error.message)
        self.error = error
        self.status = status


def exit_code(error: DomainError) -> int:
    """The exit status that scripts can rely on for a kind of failure."""
    return EXIT_UNUSABLE if error.reason is Reason.LIMIT_EXCEEDED else _EXITS.get(error.code.name, EXIT_FAILED)


def print_json(value: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def wants_json(context: click.Context) -> bool:
    """Whether the command that runs in a context was given ``--json``."""
    return bool(context.meta.get(_JSON))


def print_json_error(error: DomainError | CommandError | click.ClickException) -> None:
    """Print an error as a JSON document of one line, because some commands print a document a line."""
    if isinstance(error, CommandError):
        error = error.error
    if isinstance(error, DomainError):
        document = {"reason": error.reason.value, "message": error.message, "metadata": error.metadata}
    else:
        document = {"reason": Reason.INVALID_ARGUMENT.value, "message": error.format_message(), "metadata": {}}
    click.echo(json.dumps({"error": document}, ensure_ascii=False))


def print_table(
    rows: Sequence[Mapping[str, object]], columns: Mapping[str, str], *, empty: str, whole: Sequence[str] = ()
) -> None:
    """Print rows under headings: to a terminal in its width, to anything else a line each.

    Args:
        rows: what to print.
        columns: key in a row to heading, in order.
        empty: the sentence to print where there are no rows.
        whole: keys of columns that are broken only where the others cannot make room: ids, versions, times; first those
            that matter most.
    """
    if not rows:
        click.echo(empty)
        return
    console = Console() if sys.stdout.isatty() else Console(width=_UNLIMITED)
    cells = {key: [printable(str(row.get(key) if row.get(key) is not None else "")) for row in rows] for key in columns}
    kept = _kept(columns, cells, whole, console.width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for key, heading in columns.items():
        table.add_column(heading, overflow="fold", no_wrap=key in kept)
    for row in zip(*cells.values(), strict=True):
        table.add_row(*map(Text, row))
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def _kept(
    columns: Mapping[str, str], cells: Mapping[str, list[str]], whole: Sequence[str], width: int
) -> Sequence[str]:
    """As many of `whole`, from its first on, as can be as wide as their cells while all others are narrow."""
    room = width - _LEAST * len(columns) - _GAP * (len(columns) - 1)
    kept = []
    for key in whole:
        room -= max(map(cell_len, [columns[key], *cells[key]])) - _LEAST
        if room < 0:
            break
        kept.append(key)
    return kept


@contextmanager
def readers_may_leave() -> Iterator[None]:
    """Within the block, whoever reads the output may stop reading, as ``head`` does, and the command goes on."""
    try:
        yield
    except BrokenPipeError:
        drop_output()


def is_of_output(error: OSError) -> bool:
    """Whether an error is of what was printed: of a disk that takes no more, and of no file that has a name."""
    return error.filename is None and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def drop_output() -> None:
    """Let go of what could not be written, or Python would try again, and complain, when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def shown_time(rfc3339: str | None) -> str:
    """A time as tables show it: in UTC, to the second."""
    if not rfc3339:
        return ""
    return datetime.fromisoformat(rfc3339).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def printable(text: str) -> str:
    """Text that may quote a file of a stranger's, fit for a terminal: control codes are shown, not obeyed."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def print_error(error: DomainError) -> None:
    """Say on stderr what went wrong: the sentence, then the fields at fault."""
    click.echo(f"Error: {printable(error.message)}", err=True)
    for violation in error.violations:
        if violation.description not in error.message:
            click.echo(f"  {violation.field}: {printable(violation.description)}", err=True)
