"""``tenon job``: training jobs."""

from datetime import UTC, datetime
from pathlib import Path

import click

from cli.client import Json, connect
from cli.output import EXIT_FAILED, json_option, print_json, print_table, shown_time
from cli.plans import show_report
from cli.progress import follow
from cli.versions import short_model

ENDED_WELL = "succeeded"


@click.group()
def job() -> None:
    """Training jobs."""


@job.command("list")
@json_option
@click.pass_obj
def list_(data_dir: Path | None, as_json: bool) -> None:
    """List the training jobs, newest first."""
    with connect(data_dir) as suite:
        rows = suite.get("/v1/fine_tuning/jobs", limit=100)["data"]
    if as_json:
        print_json(rows)
        return
    columns = {"id": "ID", "status": "STATUS", "model": "BASE", "result": "RESULT", "created": "CREATED"}
    empty = "No training jobs yet. Start one: tenon train --base BASE --data FILE --name NAME"
    print_table([{**row, **_shown(row)} for row in rows], columns, empty=empty, whole=("id", "result", "created"))


def _shown(job: Json) -> Json:
    created = datetime.fromtimestamp(job["created_at"], UTC)
    return {"result": short_model(job["fine_tuned_model"] or ""), "created": shown_time(created.isoformat())}


@job.command("watch")
@click.argument("job_id")
@json_option
@click.pass_obj
def watch(data_dir: Path | None, job_id: str, as_json: bool) -> None:
    """Follow a job until it ends. Exit status 1 if it did not succeed."""
    with connect(data_dir) as suite:
        ended = follow(suite, job_id, as_json=as_json)
    if ended["status"] != ENDED_WELL:
        raise SystemExit(EXIT_FAILED)


@job.command("report")
@click.argument("job_id")
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
@click.argument("job_id")
@json_option
@click.pass_obj
def cancel(data_dir: Path | None, job_id: str, as_json: bool) -> None:
    """Ask a job to stop."""
    _ask(data_dir, job_id, "cancel", as_json=as_json)


@job.command("pause")
@click.argument("job_id")
@json_option
@click.pass_obj
def pause(data_dir: Path | None, job_id: str, as_json: bool) -> None:
    """Have a job keep what it has, and make room for others until it is resumed."""
    _ask(data_dir, job_id, "pause", as_json=as_json)


@job.command("resume")
@click.argument("job_id")
@json_option
@click.pass_obj
def resume(data_dir: Path | None, job_id: str, as_json: bool) -> None:
    """Let a paused job go on where it was."""
    _ask(data_dir, job_id, "resume", as_json=as_json)


def _ask(data_dir: Path | None, job_id: str, what: str, *, as_json: bool) -> None:
    with connect(data_dir) as suite:
        answer = suite.post(f"/v1/fine_tuning/jobs/{job_id}/{what}")
    if as_json:
        print_json(answer)
    else:
        click.echo(f"{job_id} is {answer['tenon']['state']}.")
