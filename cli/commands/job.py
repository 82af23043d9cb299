"""``tenon job``: training jobs."""

from pathlib import Path

import click

from cli import deletion
from cli.arguments import job_argument, limit_option
from cli.client import Json, connect
from cli.output import json_option, print_json, print_table, printable, shown_unix_time
from cli.plans import show_job, show_report
from cli.progress import follow_to_success
from cli.versions import short_model


@click.group()
def job() -> None:
    """Training jobs."""


@job.command("list")
@limit_option
@json_option
@click.pass_obj
def list_(data_dir: Path | None, limit: int | None, as_json: bool) -> None:
    """List the training jobs, newest first."""
    with connect(data_dir) as suite:
        rows = list(suite.listed_as_openai("/v1/fine_tuning/jobs", limit=limit))
    if as_json:
        print_json(rows)
        return
    columns = {"id": "ID", "status": "STATUS", "model": "BASE", "result": "RESULT", "created": "CREATED"}
    empty = "No training jobs yet. Start one: tenon train --base BASE --data FILE --name NAME"
    shown = [{**row, **_shown(row)} for row in rows]
    print_table(shown, columns, empty=empty, whole=("id", "result", "created", "status"), spare=("created", "model"))


def _shown(job: Json) -> Json:
    return {"result": short_model(job["fine_tuned_model"] or ""), "created": shown_unix_time(job["created_at"])}


@job.command("show")
@job_argument
@json_option
@click.pass_obj
def show(data_dir: Path | None, job_id: str, as_json: bool) -> None:
    """Show a job: what it trains, how far it is, and why it failed if it did."""
    with connect(data_dir) as suite:
        found = suite.get(f"/v1/fine_tuning/jobs/{job_id}")
    print_json(found) if as_json else show_job(found)


@job.command("events")
@job_argument
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the last so many.  [default: all]")
@json_option
@click.pass_obj
def events(data_dir: Path | None, job_id: str, limit: int | None, as_json: bool) -> None:
    """Show what has happened to a job, step by step, the oldest first; `tenon job watch` follows it."""
    with connect(data_dir) as suite:
        rows = list(suite.listed_as_openai(f"/v1/fine_tuning/jobs/{job_id}/events", limit=limit))[::-1]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo(printable(f"{shown_unix_time(row['created_at'])}  {row['level']:<5}  {row['message']}"))


@job.command("checkpoints")
@job_argument
@limit_option
@json_option
@click.pass_obj
def checkpoints(data_dir: Path | None, job_id: str, limit: int | None, as_json: bool) -> None:
    """List the states that a job has kept to go on from, newest first."""
    with connect(data_dir) as suite:
        rows = list(suite.listed_as_openai(f"/v1/fine_tuning/jobs/{job_id}/checkpoints", limit=limit))
    if as_json:
        print_json(rows)
        return
    columns = {"step_number": "STEP", "loss": "LOSS", "size": "MIB", "stored": "STORED", "created": "CREATED"}
    shown = [
        {
            **row,
            "loss": f"{row['metrics']['train_loss']:.4f}",
            "size": f"{row['tenon']['size_bytes'] / 2**20:,.1f}",
            "stored": "yes" if row["tenon"]["stored"] else "no",
            "created": shown_unix_time(row["created_at"]),
        }
        for row in rows
    ]
    print_table(shown, columns, empty=f"{job_id} has kept none yet.", whole=("created",))


@job.command("watch")
@job_argument
@json_option
@click.pass_obj
def watch(data_dir: Path | None, job_id: str, as_json: bool) -> None:
    """Follow a job until it ends. Exit status 7 if it did not succeed.

    With --json, a document a line: the job, then each of its events. Ctrl-C leaves the job running.
    """
    with connect(data_dir) as suite:
        follow_to_success(suite, job_id, as_json=as_json)


@job.command("report")
@job_argument
@json_option
@click.pass_obj
def report(data_dir: Path | None, job_id: str, as_json: bool) -> None:
    """Show what a job's training has taught: the verdict, its reasons, and answers beside the base's."""
    with connect(data_dir) as suite:
        found = suite.get(f"/v1/training_jobs/{job_id}/report")
    if as_json:
        print_json(found)
    else:
        show_report(found)


@job.command("cancel")
@job_argument
@json_option
@click.pass_obj
def cancel(data_dir: Path | None, job_id: str, as_json: bool) -> None:
    """Ask a job to stop."""
    _ask(data_dir, job_id, "cancel", as_json=as_json)


@job.command("pause")
@job_argument
@json_option
@click.pass_obj
def pause(data_dir: Path | None, job_id: str, as_json: bool) -> None:
    """Have a job keep what it has, and make room for others until it is resumed."""
    _ask(data_dir, job_id, "pause", as_json=as_json)


@job.command("resume")
@job_argument
@json_option
@click.pass_obj
def resume(data_dir: Path | None, job_id: str, as_json: bool) -> None:
    """Let a paused job go on where it was."""
    _ask(data_dir, job_id, "resume", as_json=as_json)


@job.command("delete")
@job_argument
@json_option
@click.pass_obj
def delete(data_dir: Path | None, job_id: str, as_json: bool) -> None:
    """Delete a job that has ended, with its events, its report and its checkpoints; the version that it made stays."""
    deletion.delete(data_dir, f"/v1/training_jobs/{job_id}", job_id, as_json=as_json)


def _ask(data_dir: Path | None, job_id: str, what: str, *, as_json: bool) -> None:
    with connect(data_dir) as suite:
        answer = suite.post(f"/v1/fine_tuning/jobs/{job_id}/{what}")
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{job_id} is {answer['tenon']['state']}.")
