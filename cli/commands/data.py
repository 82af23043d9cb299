"""``tenon data``: training data."""

from pathlib import Path

import click

from cli.client import Json, Suite, find_suite
from cli.output import EXIT_UNUSABLE, json_option, print_json

FORMATS = ("alpaca", "sharegpt", "openai_chat", "prompt_completion")
SHOWN_FAULTS = 50


@click.group()
def data() -> None:
    """Training data."""


@data.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--format", "format_", type=click.Choice(FORMATS), help="Row layout.  [default: detected]")
@json_option
@click.pass_obj
def check(data_dir: Path | None, file: Path, format_: str | None, as_json: bool) -> None:
    """Check FILE row by row; every fault is told with its line. Nothing is stored.

    Exit status 2 if there is a fault.
    """
    query = {"format": format_} if format_ else {}
    with Suite(find_suite(data_dir)) as suite:
        answers = list(suite.lines("/v1/datasets/check", file, **query))
    faults = [answer["fault"] for answer in answers if "fault" in answer]
    summary: Json = next(answer["summary"] for answer in answers if "summary" in answer)
    if as_json:
        print_json({"summary": summary, "faults": faults})
    else:
        _print(file, summary, faults)
    if faults:
        raise SystemExit(EXIT_UNUSABLE)


def _print(file: Path, summary: Json, faults: list[Json]) -> None:
    for fault in faults[:SHOWN_FAULTS]:
        place = f"{file.name}:{fault['line']}" + (f" {fault['field']}" if fault.get("field") else "")
        click.echo(f"{place}: {fault['reason']}")
    if len(faults) > SHOWN_FAULTS:
        click.echo(f"… and {len(faults) - SHOWN_FAULTS} more faults; --json prints all.")
    click.echo(
        f"{summary['format']}: {summary['row_count']} good rows, {summary['faulty_row_count']} with faults, "
        f"{summary['duplicate_row_count']} duplicates, {summary['answer_count']} answers"
    )
