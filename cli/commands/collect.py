"""``tenon collect``: what nothing refers to any more goes from the artifact store."""

from pathlib import Path

import click

from cli.client import connect
from cli.output import json_option, print_json

MEGABYTE = 1_000_000


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@json_option
@click.pass_obj
def collect(data_dir: Path | None, dry_run: bool, as_json: bool) -> None:
    """Delete the bytes from the artifact store that nothing refers to any more; the suite does so by itself every hour.

    What was put there within the last day stays: somebody may be about to refer to it.
    """
    with connect(data_dir) as suite:
        done = suite.post("/v1/storage/collect", {"dry_run": dry_run})
    if as_json:
        print_json(done)
        return
    verb = "would be deleted" if dry_run else "deleted"
    size, all_of_it = done["collected_bytes"] / MEGABYTE, done["size_bytes"] / MEGABYTE
    click.echo(
        f"{done['collected_count']:,} of {done['blob_count']:,} blobs {verb}: {size:,.1f} of {all_of_it:,.1f} MB."
    )
