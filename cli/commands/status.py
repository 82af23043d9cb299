"""``tenon status``: which suite the commands talk to, whether it is ready, and as whom."""

from pathlib import Path

import click

from cli.client import connect
from cli.output import json_option, print_json, printable


@click.command()
@json_option
@click.pass_obj
def status(data_dir: Path | None, as_json: bool) -> None:
    """Say which suite the commands talk to, whether it is ready, and what the key is for.

    Exit status: 5 if no suite answers or it is not ready, 6 if it does not know the key.
    """
    with connect(data_dir) as suite:
        suite.get("/readyz")
        session = suite.get("/v1/session")
    if as_json:
        print_json({"url": suite.url, "ready": True, "session": session})
        return
    click.echo(f"{suite.url} is ready.")
    project = session["project"] or "all"
    click.echo(printable(f"key:      {session['principal']}"))
    click.echo(printable(f"project:  {project}"))
    click.echo(f"may:      {', '.join(session['scopes'])}")
