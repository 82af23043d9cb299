"""``tenon data``: training data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cli import deletion
from cli.arguments import base_option, data_argument, limit_option
from cli.client import Json, connect
from cli.commands.data_download import download
from cli.commands.data_expand import expand
from cli.output import EXIT_UNUSABLE, interruptible, json_option, print_json, print_table, shown_unix_time
from cli.tokens import print_preview, print_summary

F = TypeVar("F", bound=Callable[..., Any])

FORMATS = ("alpaca", "sharegpt", "openai_chat", "prompt_completion")
SHOWN_FAULTS = 50


@click.group()
def data() -> None:
    """Training data."""


data.add_command(download)
data.add_command(expand)


def format_option(command: F) -> F:
    """Add ``--format``."""
    add = click.option("--format", "format_", type=click.Choice(FORMATS), help="Row layout.  [default: detected]")
    return add(command)


def length_option(command: F) -> F:
    """Add ``--max-sequence-length``."""
    text = "Rows are cut to this many tokens.  [default: what training would choose]"
    return click.option("--max-sequence-length", type=click.IntRange(min=1), help=text)(command)


@data.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@format_option
@base_option("Base to count tokens with, by its id: how long rows are, what is learnt.")
@length_option
@json_option
@click.pass_obj
def check(
    data_dir: Path | None,
    file: Path,
    format_: str | None,
    base_id: str | None,
    max_sequence_length: int | None,
    as_json: bool,
) -> None:
    """Check FILE row by row; every fault is told with its line, in Parquet with its row. Nothing is stored.

    FILE is JSON Lines, a JSON array or Parquet. Exit status 2 if there is a fault.
    """
    query = _query(format=format_, base_model=base_id, max_sequence_length=max_sequence_length)
    with connect(data_dir) as suite:
        answers = list(suite.lines("/v1/datasets/check", file, **query))
    faults = [answer["fault"] for answer in answers if "fault" in answer]
    summary: Json = next(answer["summary"] for answer in answers if "summary" in answer)
    if as_json:
        print_json({"summary": summary, "faults": faults})
    else:
        _print_faults(file, faults)
        print_summary(summary)
    if faults:
        raise SystemExit(EXIT_UNUSABLE)


@data.command("upload")
@click.argument("file", type=click.Path(path_type=Path))
@format_option
@json_option
@click.pass_obj
def upload(data_dir: Path | None, file: Path, format_: str | None, as_json: bool) -> None:
    """Store FILE as a data set, if every row is good, and print its id."""
    with connect(data_dir) as suite, interruptible("Nothing is stored of what was not sent whole."):
        stored = suite.upload("/v1/files", file, {"purpose": "fine-tune", **_query(format=format_)})
    print_json(stored) if as_json else click.echo(stored["id"])


@data.command("list")
@limit_option
@json_option
@click.pass_obj
def list_(data_dir: Path | None, limit: int | None, as_json: bool) -> None:
    """List the stored data sets, newest first."""
    with connect(data_dir) as suite:
        rows = list(suite.listed_as_openai("/v1/files", limit=limit))
    if as_json:
        print_json(rows)
        return
    columns = {"id": "ID", "filename": "FILE", "format": "FORMAT", "rows": "ROWS", "created": "CREATED"}
    empty = "No data sets yet. Store one: tenon data upload FILE"
    print_table([{**row, **_shown(row)} for row in rows], columns, empty=empty, whole=("id", "created"))


@data.command("show")
@data_argument
@base_option("Base to count tokens with, by its id.")
@length_option
@json_option
@click.pass_obj
def show(
    data_dir: Path | None, data_id: str, base_id: str | None, max_sequence_length: int | None, as_json: bool
) -> None:
    """Show what a stored data set holds, and with --base what training on that base would read and learn of it."""
    if max_sequence_length is not None and base_id is None:
        raise click.UsageError("--max-sequence-length needs --base, whose tokens it counts.")
    with connect(data_dir) as suite:
        stored = suite.get(f"/v1/files/{data_id}")
        summary = stored["tenon"]["statistics"]
        if base_id:
            query = _query(base_model=base_id, max_sequence_length=max_sequence_length)
            summary = suite.get(f"/v1/datasets/{data_id}/statistics", **query)
    if as_json:
        print_json({**stored, "tenon": {**stored["tenon"], "statistics": summary}})
    else:
        print_summary({**summary, "format": stored["tenon"]["format"]})


@data.command("preview")
@data_argument
@base_option("Base to be trained on, by its id.", required=True)
@length_option
@click.option("--skip", type=click.IntRange(min=0), default=0, help="Rows to pass over.  [default: 0]")
@click.option("--limit", type=click.IntRange(1, 50), default=5, help="Rows to show.  [default: 5]")
@json_option
@click.pass_obj
def preview(
    data_dir: Path | None,
    data_id: str,
    *,
    base_id: str,
    max_sequence_length: int | None,
    skip: int,
    limit: int,
    as_json: bool,
) -> None:
    """Show rows of a stored data set as training sees them, with what is learnt in colour (in ⟦brackets⟧ in a pipe).

    `tenon data upload` and `tenon data list` give the id.
    """
    query = _query(base_model=base_id, max_sequence_length=max_sequence_length, skip=skip, limit=limit)
    with connect(data_dir) as suite:
        shown = suite.get(f"/v1/datasets/{data_id}/preview", **query)
    print_json(shown) if as_json else print_preview(shown)


@data.command("delete")
@data_argument
@json_option
@click.pass_obj
def delete(data_dir: Path | None, data_id: str, as_json: bool) -> None:
    """Delete a stored data set for good; jobs that have used it stay, and one that still needs it keeps it."""
    deletion.delete(data_dir, f"/v1/files/{data_id}", data_id, as_json=as_json)


def _query(**values: str | int | None) -> dict[str, str]:
    return {key: str(value) for key, value in values.items() if value is not None}


def _shown(row: Json) -> Json:
    tenon = row["tenon"]
    rows = f"{tenon['statistics']['row_count']:,}"
    return {"format": tenon["format"], "rows": rows, "created": shown_unix_time(row["created_at"])}


def _print_faults(file: Path, faults: list[Json]) -> None:
    for fault in faults[:SHOWN_FAULTS]:
        place = f"{file.name}:{fault['line']}" + (f" {fault['field']}" if fault.get("field") else "")
        click.echo(f"{place}: {fault['reason']}")
    if len(faults) > SHOWN_FAULTS:
        click.echo(f"… and {len(faults) - SHOWN_FAULTS} more faults; --json prints all.")
