"""What a base makes of rows, for people: counts, lengths, and the rows themselves with what is learnt marked."""

from collections.abc import Iterator
from typing import Final

import click

from cli.client import Json
from cli.output import is_coloured, printable

BAR: Final = 40
"""Characters of the longest bar."""

LEARNT_BEFORE: Final = "⟦"
LEARNT_AFTER: Final = "⟧"
"""Around what is learnt, where there is no colour to show it."""


def print_summary(summary: Json) -> None:
    """Print what a check counted, and of tokens where it counted them."""
    # A suite before this one does not count them.
    synthetic = f" ({count} synthetic)" if (count := summary.get("synthetic_row_count")) else ""
    click.echo(
        f"{summary['format']}: {summary['row_count']} good rows{synthetic}, {summary['faulty_row_count']} with faults, "
        f"{summary['duplicate_row_count']} duplicates, {summary['answer_count']} answers"
    )
    if summary.get("tokens"):
        print_tokens(summary["tokens"], summary["row_count"])


def print_tokens(tokens: Json, row_count: int) -> None:
    """Print what a base makes of rows, of which there are so many good ones."""
    measured = tokens["measured_row_count"]
    of = f"{measured:,} of {row_count:,} rows" if measured < row_count else f"{measured:,} rows"
    click.echo(f"{tokens['base_model']}, rows cut to {tokens['max_sequence_length']} tokens; {of} measured")
    click.echo(
        f"{tokens['token_count']:,} tokens, {tokens['supervised_token_count']:,} of them learnt "
        f"({tokens['supervised_share']:.0%} of what is read)"
    )
    click.echo(f"tokens of a row: {', '.join(_lengths(tokens['percentiles']))}")
    for line in _histogram(tokens["histogram"]):
        click.echo(line)
    for warning in _warnings(tokens):
        click.echo(f"warning: {warning}")


def print_preview(preview: Json) -> None:
    """Print rows, what is learnt in colour on a terminal and in brackets elsewhere."""
    if not preview["data"]:
        click.echo("No rows there.")
    for row in preview["data"]:
        shown, length = len(row["tokens"]), row["token_count"]
        learnt = sum(token["supervised"] for token in row["tokens"])
        cut = f", cut from {length:,}" if row["truncated"] else ""
        click.secho(f"row {row['row']}: {shown:,} tokens{cut}, {learnt:,} learnt", bold=True)
        if row["unlabelled_reason"]:
            click.echo(f"nothing is learnt: {printable(row['unlabelled_reason'])}")
        click.echo("".join(_marked(row["tokens"])))
        click.echo()
    if preview["uses_plain_template"]:
        click.echo("The base has no chat template; a plain one is used.")


def _lengths(percentiles: list[Json]) -> Iterator[str]:
    names = {0: "shortest", 50: "half at most", 100: "longest"}
    for item in percentiles:
        yield f"{names.get(item['percent'], str(item['percent']) + ' %')} {item['tokens']:,}"


def _histogram(buckets: list[Json]) -> Iterator[str]:
    most = max((bucket["row_count"] for bucket in buckets), default=0)
    width = max((len(f"{bucket['last']:,}") for bucket in buckets), default=0)
    for bucket in buckets:
        bar = "█" * -(-bucket["row_count"] * BAR // most)
        yield f"  {bucket['first']:>{width},} – {bucket['last']:>{width},} {bar} {bucket['row_count']:,}"


def _warnings(tokens: Json) -> Iterator[str]:
    length = tokens["max_sequence_length"]
    if tokens["refused_row_count"]:
        yield f"{tokens['refused_row_count']:,} rows are refused, and training would fail: {printable(tokens['refusal'])}"
    if tokens["unlabelled_row_count"]:
        yield (
            f"{tokens['unlabelled_row_count']:,} rows have nothing left to learn and are left out; "
            "`tenon data preview` tells why."
        )
    if tokens["truncated_row_count"]:
        yield f"{tokens['truncated_row_count']:,} rows are cut to {length} tokens; --max-sequence-length may raise that."
    if tokens["supervised_token_count"] and not tokens["ends_answers"]:
        yield "no answer ends with a token that ends generation, so answers will run on until max_tokens."
    if tokens["uses_plain_template"]:
        yield "the base has no chat template; a plain one is used, and kept with the adapter."


def _marked(tokens: list[Json]) -> Iterator[str]:
    """Join the texts of neighbours of one kind, so that a character in several tokens stays whole."""
    in_colour = is_coloured()
    learnt = False
    for token in tokens:
        if not in_colour and token["supervised"] != learnt:
            yield LEARNT_BEFORE if token["supervised"] else LEARNT_AFTER
        learnt = token["supervised"]
        text = printable(token["text"])
        yield click.style(text, fg="green", bold=True) if in_colour and learnt else text
    if learnt and not in_colour:
        yield LEARNT_AFTER
