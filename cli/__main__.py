"""The ``tenon`` command."""

import sys
from pathlib import Path

import click

from cli.commands.adapter import adapter
from cli.commands.base import base
from cli.commands.chat import chat
from cli.commands.data import data
from cli.commands.fingerprint import fingerprint
from cli.commands.job import job
from cli.commands.train import train
from cli.commands.up import up
from cli.output import EXIT_INTERRUPTED, exit_code, print_error
from services.common.errors import DomainError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="TENON_DATA_DIR",
    help="Data directory of the suite on this machine.  [default: $XDG_DATA_HOME/tenon]",
)
@click.version_option(package_name="tenon", prog_name="tenon")
@click.pass_context
def tenon(context: click.Context, data_dir: Path | None) -> None:
    """Train, register and serve LoRA adapters, each only on the base it was trained on.

    `tenon up` starts a suite on this machine; the other commands find it by TENON_URL, else by the data directory,
    else at http://127.0.0.1:8600.

    Exit status: 0 done, 1 failed, 2 unusable input, 3 refused, 4 not found, 5 the suite does not answer.
    """
    context.obj = data_dir


for command in (up, base, data, train, job, adapter, chat, fingerprint):
    tenon.add_command(command)


def main() -> None:
    """Run the command line; a typed error is one sentence and an exit status."""
    try:
        sys.exit(tenon(standalone_mode=False))
    except DomainError as error:
        print_error(error)
        sys.exit(exit_code(error))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
