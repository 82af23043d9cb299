"""Jobs, plans and reports of trainings, as people read them."""

import click

from cli.client import Json
from cli.output import print_table, printable, shown_time, shown_unix_time

_MIB = 1 << 20
_WORDS = {"learned": "LEARNED", "weak": "WEAK", "not_learned": "NOT LEARNED", "overfitted": "OVERFITTED"}
_MINUTE = 60


def show_job(job: Json) -> None:
    """Print a job: what it trains, how far it is, and what went wrong."""
    ours, error = job["tenon"], job["error"]
    progress = ours["progress"]
    lines = {
        "state": ours["state"],
        "base": f"{job['model']} ({ours['base_fingerprint_id'][:12]})",
        "adapter": ours["adapter"],
        "result": job["fine_tuned_model"],
        "data": ", ".join(filter(None, (job["training_file"], job["validation_file"]))),
        "progress": f"step {progress['step']} of {progress['total_steps']}, loss {progress['loss']:.4f}"
        if progress["total_steps"]
        else None,
        "attempt": ours["attempt"],
        "priority": ours["priority"],
        "metadata": ", ".join(f"{key}={value}" for key, value in job["metadata"].items()),
        "created": shown_unix_time(job["created_at"]),
        "started": shown_time(ours["start_time"]),
        "finished": shown_unix_time(job["finished_at"]),
        "error": f"{error['code'].upper()}: {error['message']}" if error else None,
    }
    click.echo(job["id"])
    for label, value in lines.items():
        if value:
            click.echo(printable(f"{label + ':':<10}{value}"))


def show_plan(plan: Json) -> None:
    """Print a plan: its figures, then what is to be said of it."""
    if plan["steps"]:
        chosen = plan["hyperparameters"]
        click.echo(
            f"{plan['steps']} steps: {plan['rows']} rows, {chosen['n_epochs']} epochs, batch {chosen['batch_size']}, "
            f"learning rate {chosen['learning_rate']:g}, rank {chosen['lora_rank']}"
        )
        saved = f" and {plan['saved_parameters']:,} in whole modules" if plan["saved_parameters"] else ""
        click.echo(
            f"{plan['supervised_tokens']:,} supervised tokens of {plan['tokens']:,}; the adapter has "
            f"{plan['lora_parameters']:,} parameters{saved}, the base {plan['base_parameters']:,}"
        )
        click.echo(f"Memory: {plan['memory_bytes'] / _MIB:,.0f} MiB of {plan['memory_available_bytes'] / _MIB:,.0f}")
        click.echo(f"Time: about {_duration(plan['seconds'])}. {plan['seconds_basis']}")
    for finding in plan["findings"]:
        text = f"{finding['severity'].upper()} {finding['code']}: {finding['text']} {finding['remedy']}".rstrip()
        click.echo(printable(text))
    click.echo("This is hopeless; --force trains all the same." if plan["hopeless"] else "Nothing speaks against it.")


def show_report(report: Json) -> None:
    """Print a report: the verdict and its reasons, then the evidence."""
    forced = " (its plan was hopeless, and forced)" if report["forced"] else ""
    click.echo(f"{_WORDS[report['verdict']]}{forced}")
    for reason in report["reasons"]:
        click.echo(printable(f"  {reason}"))
    rows = [
        {"on": name, **_measured(report[key])}
        for key, name in (("held_out", "held-out rows"), ("trained", "rows trained on"))
        if report[key]
    ]
    columns = {"on": "ON", "rows": "ROWS", "loss": "LOSS BASE > ADAPTER", "right": "RIGHT TOKENS BASE > ADAPTER"}
    print_table(rows, columns, empty="")
    changes = [change["relative"] for change in report["layers"]]
    if changes:
        click.echo(
            f"Weights changed by {min(changes):.2%} to {max(changes):.2%} of their norm in {len(changes)} layers."
        )
    for answer in report["answers"]:
        click.echo(printable(f"\n> {answer['prompt'].strip()}"))
        for name in ("expected", "base", "adapter"):
            click.echo(printable(f"  {name:>8}: {answer[name].strip()}"))


def _measured(measured: Json) -> Json:
    return {
        "rows": measured["rows"],
        "loss": f"{measured['base_loss']:.3f} > {measured['adapter_loss']:.3f}",
        "right": f"{measured['base_accuracy']:.0%} > {measured['adapter_accuracy']:.0%}",
    }


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 2 * _MINUTE else f"{seconds / _MINUTE:.0f} min"
