"""How commands speak: tables and sentences for people, JSON for programs."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click
from rich.console import Console
from rich.table import Table

from services.common.errors import DomainError, Reason

F = TypeVar("F", bound=Callable[..., Any])

json_option: Callable[[F], F] = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

EXIT_FAILED: Final = 1
EXIT_UNUSABLE: Final = 2
EXIT_REFUSED: Final = 3
EXIT_NOT_FOUND: Final = 4
EXIT_UNAVAILABLE: Final = 5
EXIT_INTERRUPTED: Final = 130

_EXITS: Final = {
    "INVALID_ARGUMENT": EXIT_UNUSABLE,
    "FAILED_PRECONDITION": EXIT_REFUSED,
    "NOT_FOUND": EXIT_NOT_FOUND,
    "UNAVAILABLE": EXIT_UNAVAILABLE,
}


def exit_code(error: DomainError) -> int:
    """The exit status that scripts can rely on for a kind of failure."""
    return EXIT_UNUSABLE if error.reason is Reason.LIMIT_EXCEEDED else _EXITS.get(error.code.name, EXIT_FAILED)


def print_json(value: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_table(rows: Sequence[Mapping[str, object]], columns: Mapping[str, str], *, empty: str) -> None:
    """Print rows under headings.

    Args:
        rows: what to print.
        columns: key in a row to heading, in order.
        empty: the sentence to print where there are no rows.
    """
    if not rows:
        click.echo(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(str(row.get(key) if row.get(key) is not None else "") for key in columns))
    Console().print(table)


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
