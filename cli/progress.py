"""A training job as it goes: a bar with the loss, and the messages that come with it."""

import json
import sys

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cli.client import Json, Suite
from cli.output import printable


def follow(suite: Suite, job_id: str, *, as_json: bool) -> Json:
    """Show a job until it ends, and return it as it is then."""
    stream = suite.events("GET", f"/v1/training_jobs/{job_id}/watch")
    if as_json:
        for update in stream:
            click.echo(json.dumps(update, ensure_ascii=False))
    else:
        with _bar() as bar:
            task = bar.add_task(job_id, total=None, loss="")
            for update in stream:
                _show(bar, task, update)
    ended = suite.get(f"/v1/fine_tuning/jobs/{job_id}")
    if not as_json:
        _conclude(ended)
    return ended


def _bar() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    # stdout stays free for what scripts read.
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())


def _show(bar: Progress, task: TaskID, update: Json) -> None:
    event = update.get("event")
    if event is None:
        return
    data = event["data"]
    if event["type"] == "metrics":
        bar.update(task, completed=data["step"], total=data["total_steps"], loss=f"loss {data['loss']:.4f}")
    elif event["type"] == "message":
        bar.console.print(f"{data['level']}: {data['text']}", markup=False)
    elif event["type"] == "finding":
        bar.console.print(printable(f"{data['severity']}: {data['text']} {data['remedy']}".rstrip()), markup=False)
    elif event["type"] == "state":
        bar.update(task, description=f"{data['state']:<10}")


def _conclude(job: Json) -> None:
    if job["status"] == "succeeded":
        click.echo(f"{job['fine_tuned_model']}")
    elif job.get("error"):
        click.echo(f"Error: {job['error']['message']}", err=True)
    else:
        click.echo(f"{job['id']} ended as {job['status']}.", err=True)
