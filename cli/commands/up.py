"""``tenon up``: the suite on this machine."""

import asyncio
import sys
from pathlib import Path

import click

from cli.suite.up import UpOptions, run_suite


@click.command()
@click.option(
    "--data-dir",
    "own_data_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where everything is kept.  [default: $XDG_DATA_HOME/tenon]",
)
@click.option("--listen", help="HOST:PORT of the gateway; port 0 picks one.  [default: 127.0.0.1:8600]")
@click.pass_obj
def up(data_dir: Path | None, own_data_dir: Path | None, listen: str | None) -> None:
    """Run the suite in the foreground: Postgres, artifact store, services and gateway. Ctrl-C stops it."""
    options = UpOptions.resolve(own_data_dir or data_dir, listen)
    if sys.stderr.isatty():
        click.echo(f"tenon is starting on {options.data_dir} …", err=True)
    raise SystemExit(asyncio.run(run_suite(options, click.echo)))
