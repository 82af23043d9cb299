"""The commands as docs/cli.md lists them, made from the commands themselves: ``python -m cli.reference docs/cli.md``."""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import click

from cli.command_line import tenon

BEGIN: Final = "<!-- commands: made by `make reference` -->"
END: Final = "<!-- end of the commands -->"


def commands() -> Mapping[str, click.Command]:
    """Every command by what is typed to run it, ``tenon adapter list``, in the order of ``--help``."""
    return dict(_below("tenon", tenon))


def _below(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for part in command.list_commands(context):
        found = command.get_command(context, part)
        if found is not None:
            yield from _below(f"{name} {part}", found)


def render() -> str:
    """The commands as Markdown."""
    return "\n".join(line for name, command in commands().items() for line in _described(name, command))


def written_into(page: str) -> str:
    """A page with its commands as they are now."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{render()}\n{END}{rest.partition(END)[2]}"


def _described(name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    yield f"\n### {name}\n\n`{usage}`\n"
    yield _paragraphs(command.help or "")
    records = (
        parameter.get_help_record(context) for parameter in command.params if isinstance(parameter, click.Option)
    )
    options = list(filter(None, records))
    if options:
        yield "\n| option | |\n|---|---|"
        yield from (f"| `{_cell(flags)}` | {_cell(text)} |" for flags, text in options)


def _paragraphs(text: str) -> str:
    """A help text, of which click keeps the lines of what begins with a backspace."""
    parts = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(
        f"```\n{part.removeprefix(chr(8)).strip()}\n```" if part.startswith("\b") else " ".join(part.split())
        for part in parts
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(written_into(page.read_text()))
