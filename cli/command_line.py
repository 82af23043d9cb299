"""The ``tenon`` command."""
# The signatures are click's.
# ruff: noqa: ARG002

import importlib
import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from cli.output import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_UNREAD,
    CommandError,
    drop_output,
    exit_code,
    interrupted,
    is_of_output,
    print_error,
    print_json_error,
    wants_json,
)
from services.common.errors import DomainError

COMMANDS: Final[Mapping[str, str]] = {
    "up": "cli.commands.up",
    "base": "cli.commands.base",
    "data": "cli.commands.data",
    "train": "cli.commands.train",
    "job": "cli.commands.job",
    "adapter": "cli.commands.adapter",
    "model": "cli.commands.model",
    "chat": "cli.commands.chat",
    "status": "cli.commands.status",
    "key": "cli.commands.access",
    "project": "cli.commands.access",
    "audit": "cli.commands.access",
    "collect": "cli.commands.collect",
    "backup": "cli.commands.backup",
    "restore": "cli.commands.restore",
    "completion": "cli.commands.completion",
    "fingerprint": "cli.commands.fingerprint",
    "seal": "cli.commands.seal",
    "verify": "cli.commands.verify",
}
"""Each command and the module that holds it under that name."""


class LazyGroup(click.Group):
    """Imports a command when it is asked for, so that none waits for what only another needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name)
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments begin with; of one that is not there, click names the nearest."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; where it was given ``--json``, an error is a document."""
        try:
            return super().invoke(ctx)
        except (DomainError, CommandError, click.ClickException, click.Abort, KeyboardInterrupt) as error:
            if not wants_json(ctx):
                raise
            known = interrupted() if isinstance(error, click.Abort | KeyboardInterrupt) else error
            print_json_error(known.error if isinstance(known, CommandError) else known)
            raise SystemExit(status_of(known)) from None
        except BrokenPipeError:
            drop_output()
            raise SystemExit(EXIT_UNREAD) from None


def status_of(error: DomainError | CommandError | click.ClickException) -> int:
    """The exit status of a command that ends with an error."""
    if isinstance(error, DomainError):
        return exit_code(error)
    return error.status if isinstance(error, CommandError) else error.exit_code


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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
    else at http://127.0.0.1:8600, and its key by TENON_API_KEY, else in the data directory. `fingerprint`, `seal` and `verify` need none.

    Exit status: 0 done, 1 failed, 2 unusable input, 3 refused, 4 not found, 5 the suite does not answer, 6 not allowed
    with this key, 7 the job did not succeed, 130 interrupted. With --json, stdout has documents only, and the last line
    of stderr is the error.
    """
    context.obj = data_dir
    if os.environ.get("NO_COLOR"):
        context.color = False


def run() -> NoReturn:
    """Run the command line; a typed error is one sentence and an exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal's encoding lacks is escaped, not a crash; stderr does so by itself.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(tenon(standalone_mode=False))
    except (DomainError, CommandError) as error:
        print_error(error.error if isinstance(error, CommandError) else error)
        sys.exit(status_of(error))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        print_error(interrupted().error)
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:
        if not is_of_output(error):
            raise
        drop_output()
        click.echo(f"Error: The output cannot be written: {error.strerror}.", err=True)
        sys.exit(EXIT_FAILED)
