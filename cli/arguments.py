"""Arguments and options that name something of a suite: checked before they become a part of a path, completed by a shell."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from cli.client import connect
from cli.names import ADAPTERS, BASES, DATA, JOBS, KEYS, Kind
from services.common.errors import DomainError
from services.common.resource_names import check_slug

F = TypeVar("F", bound=Callable[..., Any])
Completion = Callable[[click.Context, click.Parameter, str], list[str]]

COMPLETION_SECONDS = 1.0
"""Who has pressed Tab does not wait longer."""


def completing(*kinds: Kind) -> Completion:
    """Complete the names of some kinds; silent where no suite answers in time."""

    def complete(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        # The command line's own callback does not run for a completion.
        data_dir = context.find_root().params.get("data_dir")
        try:
            with connect(data_dir, seconds=COMPLETION_SECONDS) as suite:
                return [name for kind in kinds for name in kind.names(suite) if name.startswith(incomplete)]
        except DomainError:
            return []

    return complete


complete_models = completing(BASES, ADAPTERS)


def checked_id(_: click.Context, parameter: click.Parameter, value: str) -> str:
    """An id as it is.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    return check_slug(value, (parameter.name or "").removesuffix("_id"))


def _id_argument(name: str, kind: Kind) -> Callable[[F], F]:
    return click.argument(name, callback=checked_id, shell_complete=completing(kind))


base_argument: Callable[[F], F] = _id_argument("base_id", BASES)
adapter_argument: Callable[[F], F] = _id_argument("name", ADAPTERS)
job_argument: Callable[[F], F] = _id_argument("job_id", JOBS)
data_argument: Callable[[F], F] = _id_argument("data_id", DATA)
key_argument: Callable[[F], F] = _id_argument("key_id", KEYS)
model_argument: Callable[[F], F] = click.argument("model", shell_complete=complete_models)

limit_option: Callable[[F], F] = click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Only the first so many.  [default: all]"
)


def base_option(text: str, **settings: Any) -> Callable[[F], F]:
    """Add ``--base``, the id of a base."""
    return click.option("--base", "base_id", help=text, shell_complete=completing(BASES), **settings)
