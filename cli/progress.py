"""What takes its time, as it goes: a bar, and of a training job the loss and the messages that come with it."""

import json
import sys
import time
from collections.abc import Iterator
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cli.client import Json, Suite
from cli.output import printable
from services.common.errors import DomainError, Reason

RECONNECT_SECONDS: Final = 60.0
"""How long a part of the suite may be away before following a job ends; the job itself goes on whatever happens."""

AWAY: Final = frozenset({Reason.SERVICE_UNAVAILABLE, Reason.DATABASE_UNAVAILABLE})
"""What says that a part of the suite is away, and may be back soon."""


def follow(suite: Suite, job_id: str, *, as_json: bool) -> Json:
    """Show a job until it ends, and return it as it is then."""
    stream = _updates(suite, job_id)
    if as_json:
        for update in stream:
            click.echo(json.dumps(update, ensure_ascii=False))
    else:
        with counting_bar() as bar:
            task = bar.add_task(job_id, total=None, note="")
            for update in stream:
                _show(bar, task, update)
    ended = suite.get(f"/v1/fine_tuning/jobs/{job_id}")
    if not as_json:
        _conclude(ended)
    return ended


def _updates(suite: Suite, job_id: str) -> Iterator[Json]:
    """Read a job's watch to its end, going on after the last event if it breaks off."""
    last, seen, deadline = 0, False, 0.0
    while True:
        try:
            for update in suite.events("GET", f"/v1/training_jobs/{job_id}/watch?after={last}"):
                deadline = time.monotonic() + RECONNECT_SECONDS
                if "event" in update:
                    last = update["event"]["sequence"]
                if "event" in update or not seen:
                    yield update
                seen = True
        except DomainError as error:
            if not seen or error.reason not in AWAY or time.monotonic() > deadline:
                raise
            time.sleep(1.0)
        else:
            return


def counting_bar() -> Progress:
    """Make a bar on a terminal, with steps that are done, a note (the field ``note`` of a task), and the time that is left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
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
        bar.update(task, completed=data["step"], total=data["total_steps"], note=f"loss {data['loss']:.4f}")
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
