"""``tenon completion``: what makes a shell complete commands and options."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  eval "$(tenon completion bash)"   # in ~/.bashrc
    zsh:   eval "$(tenon completion zsh)"    # in ~/.zshrc
    fish:  tenon completion fish > ~/.config/fish/completions/tenon.fish
    """  # noqa: D301  # click's own mark for a paragraph that keeps its lines
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"click completes nothing in {shell}.")
    click.echo(found(context.find_root().command, {}, "tenon", "_TENON_COMPLETE").source())
