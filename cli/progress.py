"""What takes its time, as it goes: a bar, and of a training job the loss and the messages that come with it."""

import json
import sys
import time
from collections.abc import Iterator
from typing import Final

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cli.client import Json, Suite, to_domain_error
from cli.output import EXIT_JOB_FAILED, CommandError, interruptible, printable, stderr_console
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
    if not as_json and ended["status"] == "succeeded":
        click.echo(ended["fine_tuned_model"])
    return ended


def follow_to_success(suite: Suite, job_id: str, *, as_json: bool) -> None:
    """Show a job until it ends.

    Raises:
        CommandError: the job did not succeed, with its own reason; CANCELLED at Ctrl-C, which leaves the job running.
    """
    known = f"{job_id} goes on. See it with `tenon job watch {job_id}`, stop it with `tenon job cancel {job_id}`."
    with interruptible(known):
        ended = follow(suite, job_id, as_json=as_json)
    if ended["status"] == "succeeded":
        return
    error = ended.get("error") or {"code": "cancelled", "message": f"{job_id} ended as {ended['status']}."}
    raise CommandError(to_domain_error({"error": error}), EXIT_JOB_FAILED)


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
    return Progress(*columns, console=stderr_console(), disable=not sys.stderr.isatty())


def _show(bar: Progress, task: TaskID, update: Json) -> None:
    event = update.get("event")
    if event is None:
        return
    data = event["data"]
    if event["type"] == "metrics":
        bar.update(task, completed=data["step"], total=data["total_steps"], note=f"loss {data['loss']:.4f}")
    elif event["type"] == "message":
        bar.console.print(printable(f"{data['level']}: {data['text']}"), markup=False, highlight=False)
    elif event["type"] == "finding":
        bar.console.print(
            printable(f"{data['severity']}: {data['text']} {data['remedy']}".rstrip()), markup=False, highlight=False
        )
    elif event["type"] == "state":
        bar.update(task, description=f"{data['state']:<10}")
