"""``tenon train``: from a file to an adapter that answers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click

from cli.arguments import base_option, completing
from cli.client import Json, connect
from cli.commands.data import FORMATS
from cli.names import ADAPTERS
from cli.output import EXIT_REFUSED, json_option, print_json
from cli.plans import show_plan
from cli.progress import follow_to_success

N = TypeVar("N", int, float)


class _PatternValue(click.ParamType[tuple[str, N]]):
    """``PATTERN=VALUE``."""

    def __init__(self, number: type[N]) -> None:
        self.name = "PATTERN=VALUE"
        self._number: Callable[[str], N] = number

    def convert(
        self, value: str | tuple[str, N], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, N]:
        if isinstance(value, tuple):
            return value
        pattern, _, number = value.rpartition("=")
        try:
            read = self._number(number)
        except ValueError:
            read = None
        if read is None or not pattern:
            raise click.BadParameter(f"{value!r} is not a pattern and its number, such as q_proj=8", ctx, param)
        return pattern, read


@click.command()
@base_option("Base model to train on, by its id.", required=True)
@click.option(
    "--data", "file", required=True, type=click.Path(path_type=Path), help="JSON, JSONL or Parquet file of rows."
)
@click.option(
    "--validation-data", "validation_file", type=click.Path(path_type=Path), help="File of rows to measure on alone."
)
@click.option(
    "--name",
    required=True,
    shell_complete=completing(ADAPTERS),
    help="Id of the adapter; a new version is added where it exists.",
)
@click.option("--format", "format_", type=click.Choice(FORMATS), help="Row layout.  [default: detected]")
@click.option("--epochs", type=int, help="Passes over the data.")
@click.option("--batch-size", type=int, help="Rows per optimizer step.")
@click.option("--learning-rate", type=float, help="Highest learning rate.")
@click.option("--warmup-ratio", type=float, help="Share of the steps that warm up.")
@click.option("--schedule", type=click.Choice(["linear", "cosine", "constant"]), help="How the learning rate falls.")
@click.option("--lora-rank", type=int, help="Rank of the adapter.")
@click.option("--lora-alpha", type=float, help="Scale of the adapter, divided by its rank.")
@click.option(
    "--target-module",
    "target_modules",
    multiple=True,
    metavar="PATTERN",
    help="Layers that get an adapter, by the ends of their names: q_proj, layers.0.*.q_proj. May be repeated.  [default: all]",
)
@click.option("--rank-pattern", multiple=True, type=_PatternValue(int), help="Another rank for some layers: q_proj=8.")
@click.option("--alpha-pattern", multiple=True, type=_PatternValue(float), help="Another alpha for some layers.")
@click.option(
    "--module-to-save",
    "modules_to_save",
    multiple=True,
    metavar="PATTERN",
    help="Layers to train as a whole: lm_head, embed_tokens. May be repeated.",
)
@click.option("--max-sequence-length", type=int, help="Rows are cut to this many tokens.")
@click.option("--use-rslora", is_flag=True, default=None, help="Scale by alpha / √rank.")
@click.option("--use-dora", is_flag=True, default=None, help="Learn lengths apart from directions; takes longer.")
@click.option("--max-gradient-norm", type=float, help="A longer gradient is scaled down to it.  [default: 1]")
@click.option(
    "--early-stopping-patience", type=int, help="Stop after so many measurements of held-out loss without a better one."
)
@click.option("--seed", type=int, help="Seed of everything random.")
@click.option(
    "--validation-fraction",
    type=click.FloatRange(0, 0.5),
    help="Share of the different rows to measure on instead of learning them.  [default: 0.1 of 50 rows or more]",
)
@click.option("--priority", type=int, help="Of jobs that wait, those with a higher one come first.  [default: 0]")
@click.option("--force", is_flag=True, help="Train though the plan is hopeless; it is told in the adapter's manifest.")
@click.option("--dry-run", is_flag=True, help="Upload the file, print the plan, and train nothing.")
@click.option("--detach", is_flag=True, help="Print the job's id and do not wait.")
@json_option
@click.pass_obj
def train(
    data_dir: Path | None,
    /,
    *,
    base_id: str,
    file: Path,
    validation_file: Path | None,
    name: str,
    format_: str | None,
    epochs: int | None,
    seed: int | None,
    validation_fraction: float | None,
    priority: int | None,
    force: bool,
    dry_run: bool,
    detach: bool,
    as_json: bool,
    target_modules: Sequence[str],
    rank_pattern: Sequence[tuple[str, int]],
    alpha_pattern: Sequence[tuple[str, float]],
    modules_to_save: Sequence[str],
    **hyperparameters: float | str | None,
) -> None:
    """Upload a file, train an adapter on a base, and register it.

    With --dry-run nothing is trained: the plan is printed, and the exit status is 3 if it is hopeless. Exit status 7 if
    the job did not succeed. Ctrl-C leaves the job running; `tenon job watch` finds it again, `tenon job cancel` stops it.
    With --json, a document a line while it trains: the job, then each of its events.
    """
    if validation_file and validation_fraction is not None:
        raise click.UsageError("Give --validation-data or --validation-fraction, not both.")
    with connect(data_dir) as suite:
        fields = {"purpose": "fine-tune"} | ({"format": format_} if format_ else {})
        uploaded = suite.upload("/v1/files", file, fields)
        layers = {
            "target_modules": list(target_modules) or None,
            "rank_pattern": dict(rank_pattern) or None,
            "alpha_pattern": dict(alpha_pattern) or None,
            "modules_to_save": list(modules_to_save) or None,
        }
        chosen = _given({"n_epochs": epochs, **hyperparameters, **layers})
        body = {"model": base_id, "training_file": uploaded["id"], "adapter": name, "force": force}
        body["method"] = {"type": "supervised", "supervised": {"hyperparameters": chosen}}
        measured = suite.upload("/v1/files", validation_file, fields)["id"] if validation_file else None
        optional = {"seed": seed, "priority": priority, "validation_fraction": validation_fraction}
        body |= _given({**optional, "validation_file": measured})
        if dry_run:
            plan = suite.post("/v1/training_jobs/plan", body)
            print_json(plan) if as_json else show_plan(plan)
            raise SystemExit(EXIT_REFUSED if plan["hopeless"] else 0)
        job = suite.post("/v1/fine_tuning/jobs", body)
        if detach:
            print_json(job) if as_json else click.echo(job["id"])
            return
        follow_to_success(suite, job["id"], as_json=as_json)


def _given(options: Json) -> Json:
    """Those that somebody has set."""
    return {name: value for name, value in options.items() if value is not None}
