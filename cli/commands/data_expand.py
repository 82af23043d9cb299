"""``tenon data expand``: more rows from few."""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from cli.arguments import complete_models
from cli.client import Json, Suite, connect
from cli.expansion.asking import Asker
from cli.expansion.making import Maker, Offer, Wish, make
from cli.expansion.result import Result
from cli.expansion.rules import Rejection, prompt_key
from cli.expansion.sources import Expansion, go_on, read_rows
from cli.output import EXIT_FAILED, interrupted, json_option, print_json, print_table
from cli.progress import counting_bar
from cli.tokens import print_summary
from cli.versions import find_model
from services.common.errors import DomainError, Reason
from services.common.rows.model import DatasetFormat

MOST_VARIANTS = 50
MOST_CONCURRENCY = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What is asked for; the options of the command."""

    model: str
    variants: int
    answers: bool
    concurrency: int
    temperature: float
    seed: int


@click.command("expand")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--model",
    required=True,
    shell_complete=complete_models,
    help="Who rewords: a base or an adapter that the suite serves.",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="File to write, as JSON Lines.")
@click.option(
    "--variants", type=click.IntRange(1, MOST_VARIANTS), default=5, help="Variants of each row.  [default: 5]"
)
@click.option("--answers", is_flag=True, help="Ask for new answers as well.  [default: a row's answer stays]")
@click.option(
    "--format",
    "format_",
    type=click.Choice([layout.value for layout in DatasetFormat]),
    help="Row layout.  [default: detected]",
)
@click.option(
    "--concurrency", type=click.IntRange(1, MOST_CONCURRENCY), default=4, help="Requests at a time.  [default: 4]"
)
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.9, help="Higher is more varied.  [default: 0.9]")
@click.option("--seed", type=click.IntRange(0, 2**53 - 1), default=0, help="Another one, other variants.  [default: 0]")
@json_option
@click.pass_obj
def expand(
    data_dir: Path | None, /, *, file: Path, output: Path, format_: str | None, as_json: bool, **options: object
) -> None:
    """Ask a model for other wordings of each row's question, and write the rows of FILE followed by these variants.

    FILE is JSON Lines or a JSON array. A variant names its row in the key synthetic_of; training never measures on it, nor
    learns it where its row is measured on. Ctrl-C keeps what was made; the same command goes on from there.
    """
    choices = Choices(**options)  # type: ignore[arg-type]  # click has checked them
    original = read_rows(file, DatasetFormat(format_) if format_ else None)
    if output.exists() and output.samefile(file):
        text = f"{output} is the file of the rows. Write what is made from them to another one."
        raise DomainError(Reason.INVALID_ARGUMENT, text, {"field": "output"})
    expansion = go_on(original, output)
    result = Result(output, expansion)
    with connect(data_dir) as suite:
        before = expansion.variant_count
        rejected = _expand(suite, choices, expansion, result)
        report = _report(output, expansion, choices, before, rejected)
        if report["variants"]:
            report["check"] = _check(suite, output)
    print_json(report) if as_json else _print(report)
    if not report["variants"]:
        click.echo(
            f"No variant was made, and {output} is not written. Use a model that follows instructions.", err=True
        )
        raise SystemExit(EXIT_FAILED)


def wishes(expansion: Expansion, variants: int) -> Iterator[Wish]:
    """What is missing, row by row."""
    for digest, row in expansion.original.genuine.items():
        if row.turn is not None:
            yield from (Wish(row, row.turn, number) for number in range(expansion.counts[digest], variants))


def _expand(suite: Suite, choices: Choices, expansion: Expansion, result: Result) -> Counter[Rejection]:
    """Make what is missing, and write it whatever happens."""
    missing = list(wishes(expansion, choices.variants))
    if not missing:
        return Counter()
    model = find_model(suite, choices.model)
    stopped = threading.Event()
    asker = Asker(suite, model, choices.temperature, stopped)
    asker.greet()
    maker = Maker(asker, expansion.original.layout, choices.answers, choices.seed)
    taken = {prompt_key(row.example) for row in expansion.original.rows} | set(map(prompt_key, expansion.examples))
    rejected: Counter[Rejection] = Counter()
    try:
        with counting_bar() as bar:
            task = bar.add_task("variants", total=len(missing), note="")
            for offer in make(missing, maker.offer, taken, choices.concurrency):
                rejected += offer.rejected
                _take(offer, expansion)
                bar.update(task, advance=1, note=f"{rejected.total()} rejected")
                result.save_now_and_then()
    except KeyboardInterrupt:
        stopped.set()
        raise interrupted(_kept(result)) from None
    except DomainError as error:
        stopped.set()
        text = f"{error.message} {_kept(result)}"
        raise DomainError(error.reason, text, error.metadata, violations=error.violations) from None
    result.save()
    return rejected


def _take(offer: Offer, expansion: Expansion) -> None:
    if offer.example is not None:
        expansion.add(offer.line, offer.example)


def _kept(result: Result) -> str:
    count = result.save()
    if not count:
        return "No variant was made yet, and nothing is written."
    return f"{count:,} variants are in {result.file}; the same command goes on from there."


def _report(output: Path, expansion: Expansion, choices: Choices, before: int, rejected: Counter[Rejection]) -> Json:
    return {
        "file": str(output),
        "rows": len(expansion.original.rows),
        "variants": expansion.variant_count,
        "made_now": expansion.variant_count - before,
        "missing": sum(1 for _ in wishes(expansion, choices.variants)),
        "rows_not_reworded": sum(row.turn is None for row in expansion.original.genuine.values()),
        "rejected": {reason.value: count for reason, count in rejected.most_common()},
    }


def _check(suite: Suite, output: Path) -> Json:
    """Have the suite check the file as it checks any other.

    Raises:
        DomainError: DATASET_INVALID; why it cannot be checked.
    """
    try:
        answers = list(suite.lines("/v1/datasets/check", output))
    except DomainError as error:
        text = f"{error.message} {output} is written, but could not be checked."
        raise DomainError(error.reason, text, error.metadata, violations=error.violations) from None
    for fault in (answer["fault"] for answer in answers if "fault" in answer):
        text = f"{output}:{fault['line']}: {fault['reason']} `tenon data check {output}` tells every fault."
        raise DomainError(Reason.DATASET_INVALID, text, {"line": str(fault["line"])})
    summary: Json = next(answer["summary"] for answer in answers if "summary" in answer)
    return summary


def _print(report: Json) -> None:
    counts = [
        ("rows", report["rows"]),
        ("variants", report["variants"]),
        ("variants missing", report["missing"]),
        ("rows without a question to reword", report["rows_not_reworded"]),
        *((f"rejected: {reason}", count) for reason, count in report["rejected"].items()),
    ]
    rows = [{"what": what, "count": f"{count:,}"} for what, count in counts]
    print_table(rows, {"what": report["file"], "count": "COUNT"}, empty="")
    if check := report.get("check"):
        print_summary(check)
