"""``tenon chat``: talk to a base or an adapter."""

import json
import sys
from pathlib import Path

import click

from cli.arguments import base_option, model_argument
from cli.client import Json, Suite, connect
from cli.output import json_option, print_json
from cli.versions import find_model
from services.common.errors import DomainError, Reason


@click.command()
@model_argument
@click.option("--message", "-m", help="Ask this and end; without it, a conversation from the terminal.")
@click.option("--system", help="System message.")
@base_option("Refuse unless MODEL was trained on this base.")
@click.option("--max-tokens", type=int, help="Longest answer.")
@click.option("--temperature", type=float, help="0 picks the likeliest token.")
@click.option("--seed", type=int, help="Makes picks repeatable.")
@click.option(
    "--json-schema",
    "schema",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Answers are JSON that the schema in this file allows.",
)
@json_option
@click.pass_obj
def chat(
    data_dir: Path | None,
    /,
    model: str,
    message: str | None,
    system: str | None,
    schema: Path | None,
    as_json: bool,
    **options: float | str | None,
) -> None:
    """Talk to MODEL: a base, an adapter, adapter:alias, or adapter@version with 8 digits of the version or more."""
    if as_json and message is None:
        raise click.UsageError("--json needs --message: a conversation is text.")
    request: Json = {
        {"base_id": "base_model"}.get(key, key): value for key, value in options.items() if value is not None
    }
    if schema is not None:
        request["response_format"] = _format(schema)
    messages = [{"role": "system", "content": system}] if system else []
    with connect(data_dir) as suite:
        request["model"] = find_model(suite, model)
        if message is None:
            _converse(suite, request, messages)
            return
        messages.append({"role": "user", "content": message})
        if as_json:
            print_json(suite.post("/v1/chat/completions", {**request, "messages": messages}))
        else:
            _answer(suite, request, messages)


def _format(file: Path) -> Json:
    """The response format of a schema in a file.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    try:
        schema = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DomainError(Reason.INVALID_ARGUMENT, f"{file} is not a JSON schema: {error}.") from None
    return {"type": "json_schema", "json_schema": {"name": file.stem, "schema": schema}}


def _converse(suite: Suite, request: Json, messages: list[Json]) -> None:
    if sys.stdin.isatty():
        click.echo("Ctrl-D ends the conversation.", err=True)
    while True:
        try:
            text = input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return
        if not text.strip():
            continue
        messages.append({"role": "user", "content": text})
        messages.append({"role": "assistant", "content": _answer(suite, request, messages)})


def _answer(suite: Suite, request: Json, messages: list[Json]) -> str:
    """Print the answer as it comes, and return it."""
    pieces: list[str] = []
    try:
        body = {**request, "messages": messages, "stream": True}
        for chunk in suite.events("POST", "/v1/chat/completions", body):
            piece = (chunk["choices"][0]["delta"].get("content") or "") if chunk["choices"] else ""
            pieces.append(piece)
            click.echo(piece, nl=False)
    except DomainError:
        if pieces:
            click.echo()
        raise
    click.echo()
    return "".join(pieces)
