"""``tenon backup``: everything that the suite of this machine keeps, in one file."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from rich.progress import Progress, TaskID

from cli.client import Json
from cli.output import drop_output, json_option, print_json
from cli.progress import counting_bar
from cli.suite.backup.archive import Sink
from cli.suite.backup.manifest import Header, Manifest
from cli.suite.backup.writing import new_archive, open_suite, verify_backup, write_backup
from cli.suite.options import UpOptions

MEGABYTE: Final = 1_000_000
STANDARD: Final = Path("-")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option(
    "--data-dir",
    "own_data_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Data directory of the suite.  [default: $XDG_DATA_HOME/tenon]",
)
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.option(
    "--skip-damaged", is_flag=True, help="Leave out what is damaged or lost in the artifact store, and say so."
)
@click.option("--verify", is_flag=True, help="Write nothing; read the backup FILE and check every byte of it.")
@json_option
@click.pass_obj
def backup(
    data_dir: Path | None,
    *,
    file: Path,
    own_data_dir: Path | None,
    force: bool,
    skip_damaged: bool,
    verify: bool,
    as_json: bool,
) -> None:
    """Write everything that the suite of this machine keeps to FILE, while it runs or while it does not.

    FILE is written completely or not at all. It holds the private signing key and the admin key: whoever can read it can
    do all that you can. It is readable by you alone; with `-` it goes to the standard output, for example to be encrypted.
    """
    if verify:
        with progress("checking") as report:
            header, manifest = verify_backup(file, report)
        done = described(file, manifest, header)
        print_json(done) if as_json else click.echo(f"{file} is whole: {summary(done)}.")
        return
    if file == STANDARD and (as_json or sys.stdout.isatty()):
        raise click.UsageError(
            "With '-' the backup itself goes to the standard output; send it to a file or a program."
        )
    options = UpOptions.resolve(own_data_dir or data_dir)
    directory = open_suite(options.data_dir.absolute())
    with (
        interruptible(),
        progress("backing up") as report,
        standard_output() if file == STANDARD else new_archive(file, force=force) as sink,
    ):
        manifest = write_backup(directory, sink, report, postgres_uid=options.postgres_uid, skip_damaged=skip_damaged)
    _tell_left_out(manifest)
    done = described(file, manifest, Header.own())
    if as_json:
        print_json(done)
    else:
        click.echo(f"{file}: {summary(done)}. It holds private keys: keep it as you keep those.", err=file == STANDARD)


def described(file: Path, manifest: Manifest, header: Header) -> Json:
    """A backup as ``--json`` tells it."""
    return {
        "file": str(file),
        "tenon": header.tenon,
        "create_time": manifest.create_time.isoformat(),
        "blobs": manifest.blobs.count,
        "blob_bytes": manifest.blobs.size,
        "database_bytes": manifest.database.size,
        "keys": sorted(manifest.keys),
        "migrations": {schema: len(applied) for schema, applied in manifest.schemas.items()},
        "left_out": [blob.model_dump() for blob in manifest.left_out],
    }


def summary(done: Json) -> str:
    """A backup in a few words."""
    size = (done["blob_bytes"] + done["database_bytes"]) / MEGABYTE
    text = f"the suite as it was at {done['create_time']}, {done['blobs']} blobs and the database, {size:.1f} MB"
    return f"{text}, without {len(done['left_out'])} that were lost" if done["left_out"] else text


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block, SIGTERM and SIGHUP end the command as Ctrl-C does, so that nothing is left behind."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def standard_output() -> Iterator[Sink]:
    """The standard output, for bytes that somebody must read to their end."""
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        drop_output()
        raise click.ClickException("Whoever reads the backup stopped before its end.") from None


class _Bar:
    """Megabytes on a terminal."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar = bar
        self._task = task

    def expect(self, total: int) -> None:
        """Show how many bytes it will be."""
        self._bar.update(self._task, total=max(1, round(total / MEGABYTE)))

    def advance(self, count: int) -> None:
        """Show that so many more are done."""
        self._bar.advance(self._task, count / MEGABYTE)


@contextmanager
def progress(what: str) -> Iterator[_Bar]:
    """A bar that counts megabytes."""
    with counting_bar() as bar:
        yield _Bar(bar, bar.add_task(what, total=None, note="MB"))


def _tell_left_out(manifest: Manifest) -> None:
    for blob in manifest.left_out:
        click.echo(f"Left out ({blob.reason}): {blob.digest} of {blob.what}", err=True)
