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
EXIT_NOT_ALLOWED: Final = 6
EXIT_JOB_FAILED: Final = 7
EXIT_INTERRUPTED: Final = 130
EXIT_UNREAD: Final = 141
"""128 and the number of the signal that ends a program whose output nobody reads; so others end, too."""

_EXITS: Final = {
    "INVALID_ARGUMENT": EXIT_UNUSABLE,
    "FAILED_PRECONDITION": EXIT_REFUSED,
    "UNAUTHENTICATED": EXIT_NOT_ALLOWED,
    "PERMISSION_DENIED": EXIT_NOT_ALLOWED,
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


@contextmanager
def interruptible(goes_on: str) -> Iterator[None]:
    """Within the block, Ctrl-C ends the command with a word on what goes on, or was not done.

    Raises:
        CommandError: CANCELLED.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise interrupted(goes_on) from None


def interrupted(goes_on: str = "") -> CommandError:
    """The end of a command by Ctrl-C."""
    return CommandError(DomainError(Reason.CANCELLED, f"Interrupted. {goes_on}".rstrip()), EXIT_INTERRUPTED)


def print_json(value: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def wants_json(context: click.Context) -> bool:
    """Whether the command that runs in a context was given ``--json``."""
    return bool(context.meta.get(_JSON))


def print_json_error(error: DomainError | click.ClickException) -> None:
    """Print an error on stderr as a JSON document of one line: the last one there, whatever was said before."""
    if isinstance(error, DomainError):
        document = {"reason": error.reason.value, "message": error.message, "metadata": error.metadata}
    else:
        document = {"reason": Reason.INVALID_ARGUMENT.value, "message": error.format_message(), "metadata": {}}
    click.echo(json.dumps({"error": document}, ensure_ascii=False), err=True)


def stderr_console() -> Console:
    """For bars and what is said beside them: on a terminal in its width; elsewhere no line is broken."""
    return Console(stderr=True) if sys.stderr.isatty() else Console(stderr=True, width=_UNLIMITED)


def print_table(
    rows: Sequence[Mapping[str, object]],
    columns: Mapping[str, str],
    *,
    empty: str,
    whole: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> None:
    """Print rows under headings: to a terminal in its width, to anything else a line each.

    Args:
        rows: what to print.
        columns: key in a row to heading, in order.
        empty: the sentence to print where there are no rows.
        whole: keys of columns that are broken only where the others cannot make room: ids, versions, times; first those
            that matter most.
        spare: keys of columns that are left out, from the first on, of a terminal that has no room for them.
    """
    if not rows:
        click.echo(empty)
        return
    console = Console() if sys.stdout.isatty() else Console(width=_UNLIMITED)
    cells = {key: [printable(str(row.get(key) if row.get(key) is not None else "")) for row in rows] for key in columns}
    shown = _affordable(columns, cells, spare, console.width)
    cells = {key: cells[key] for key in shown}
    kept = _kept(shown, cells, whole, console.width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for key, heading in shown.items():
        table.add_column(heading, overflow="fold", no_wrap=key in kept)
    for row in zip(*cells.values(), strict=True):
        table.add_row(*map(Text, row))
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def _width(heading: str, cells: Sequence[str]) -> int:
    return max(map(cell_len, [heading, *cells]))


def _affordable(
    columns: Mapping[str, str], cells: Mapping[str, list[str]], spare: Sequence[str], width: int
) -> Mapping[str, str]:
    """The columns without as many of `spare` as it takes for the others to be as wide as their cells."""
    shown = dict(columns)
    for key in spare:
        if sum(_width(shown[name], cells[name]) + _GAP for name in shown) - _GAP <= width:
            break
        del shown[key]
    return shown


def _kept(
    columns: Mapping[str, str], cells: Mapping[str, list[str]], whole: Sequence[str], width: int
) -> Sequence[str]:
    """As many of `whole`, from its first on, as can be as wide as their cells while all others are narrow."""
    room = width - _LEAST * len(columns) - _GAP * (len(columns) - 1)
    kept = []
    for key in filter(columns.__contains__, whole):
        room -= _width(columns[key], cells[key]) - _LEAST
        if room < 0:
            break
        kept.append(key)
    return kept


def is_coloured() -> bool:
    """Whether colours are seen on stdout, and wanted (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


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


def shown_unix_time(seconds: int | None) -> str:
    """A time in seconds of Unix, as tables show it."""
    return shown_time(datetime.fromtimestamp(seconds, UTC).isoformat()) if seconds else ""


def printable(text: str) -> str:
    """Text that may quote a file of a stranger's, fit for a terminal: control codes are shown, not obeyed."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def print_error(error: DomainError) -> None:
    """Say on stderr what went wrong: the sentence, then the fields at fault."""
    # Who has interrupted a command knows that it is no error.
    label = "" if error.reason is Reason.CANCELLED else "Error: "
    click.echo(f"{label}{printable(error.message)}", err=True)
    for violation in error.violations:
        if violation.description not in error.message:
            click.echo(f"  {violation.field}: {printable(violation.description)}", err=True)
