"""``tenon restore``: a suite from the file that ``tenon backup`` wrote."""

import shlex
import sys
from pathlib import Path

import click

from cli.commands.backup import STANDARD, described, interruptible, progress, summary
from cli.output import json_option, print_json
from cli.suite.backup.restoring import restore_suite
from cli.suite.backup.writing import opened_archive
from cli.suite.options import UpOptions


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option(
    "--data-dir",
    "own_data_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory to restore into; must not exist or be empty.  [default: $XDG_DATA_HOME/tenon]",
)
@json_option
@click.pass_obj
def restore(data_dir: Path | None, *, file: Path, own_data_dir: Path | None, as_json: bool) -> None:
    """Make a data directory from the backup FILE, or from the standard input with `-`; then `tenon up` serves it.

    The directory appears completely or not at all. Restore backups of your own alone: a database's definitions are
    programs, which run when the suite does. Bases are not in a backup: they must be where the suite knows them.
    """
    options = UpOptions.resolve(own_data_dir or data_dir)
    with interruptible(), progress("restoring") as report:
        if file == STANDARD:
            header, manifest = restore_suite(
                sys.stdin.buffer, options.data_dir, report, postgres_uid=options.postgres_uid
            )
        else:
            with opened_archive(file) as stream:
                report.expect(file.stat().st_size)
                header, manifest = restore_suite(stream, options.data_dir, report, postgres_uid=options.postgres_uid)
    done = described(file, manifest, header)
    if as_json:
        print_json({**done, "data_directory": str(options.data_dir.absolute())})
    else:
        click.echo(
            f"{options.data_dir}: {summary(done)}.\nServe it with: tenon up --data-dir {shlex.quote(str(options.data_dir))}"
        )
