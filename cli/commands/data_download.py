"""``tenon data download``: a stored data set as the file that it was."""

import sys
from pathlib import Path

import click

from cli.arguments import data_argument
from cli.client import connect
from cli.output import interruptible, json_option, print_json
from cli.transfer import appearing, passing
from services.common.errors import DomainError, Reason


@click.command("download")
@data_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="File to write, - for stdout.  [default: the name it was uploaded under, here]",
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@json_option
@click.pass_obj
def download(data_dir: Path | None, data_id: str, output: Path | None, force: bool, as_json: bool) -> None:
    """Write a stored data set to a file, byte for byte as it was uploaded; completely, or not at all."""
    to_stdout = output == Path("-")
    if to_stdout and as_json:
        raise click.UsageError("--json has stdout for itself: name a file with --output.")
    with connect(data_dir) as suite, interruptible("Nothing is written."):
        stored = suite.get(f"/v1/files/{data_id}")
        chunks = passing(suite.download(f"/v1/files/{data_id}/content"), stored["bytes"], data_id)
        if to_stdout:
            for chunk in chunks:
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            return
        # The name is a stranger's: only its last part is taken, and a dot at most says what it is.
        target = output or Path(Path(stored["filename"]).name or data_id)
        if target.exists() and not force:
            text = f"{target} is there already. Name another file with --output, or write over it with --force."
            raise DomainError(Reason.INVALID_ARGUMENT, text, {"field": "output"})
        with appearing(target) as pending, pending.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
    written = {"id": data_id, "file": str(target.absolute()), "bytes": stored["bytes"]}
    print_json(written) if as_json else click.echo(f"{stored['bytes']:,} bytes in {target}")
