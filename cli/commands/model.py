"""``tenon model``: what can answer, and what is in memory."""

from pathlib import Path
from typing import Final
from urllib.parse import quote

import click

from cli.arguments import base_option, model_argument
from cli.client import Json, connect
from cli.output import interruptible, json_option, print_json, print_table, shown_time, shown_unix_time
from cli.versions import find_model, short_model

_MIB: Final = 1 << 20


@click.group()
def model() -> None:
    """What can answer, and what is in memory."""


@model.command("list")
@json_option
@click.pass_obj
def list_(data_dir: Path | None, as_json: bool) -> None:
    """List every base and every adapter."""
    with connect(data_dir) as suite:
        rows = suite.get("/v1/models")["data"]
    if as_json:
        print_json(rows)
        return
    columns = {"id": "MODEL", "kind": "KIND", "base_model": "BASE", "state": "STATE", "aliases": "ALIASES"}
    shown = [{**row, **row["tenon"], "aliases": ", ".join(row["tenon"]["aliases"])} for row in rows]
    print_table(shown, columns, empty="No models yet. Add a base: tenon base add DIR", whole=("id",))


@model.command("show")
@model_argument
@json_option
@click.pass_obj
def show(data_dir: Path | None, model: str, as_json: bool) -> None:
    """Show what MODEL of a request would be: a base, an adapter, adapter:alias or adapter@version."""
    with connect(data_dir) as suite:
        found = suite.get(f"/v1/models/{_path(find_model(suite, model))}")
    if as_json:
        print_json(found)
        return
    ours = found["tenon"]
    click.echo(f"{found['id']}: {ours['kind']}" + (f" on {ours['base_model']}" if ours["kind"] == "adapter" else ""))
    lines = {
        "version": ours["version"],
        "state": ours["state"],
        "provenance": ours["provenance"],
        "aliases": ", ".join(ours["aliases"]),
        "created": shown_unix_time(found["created"]),
    }
    for label, value in lines.items():
        if value:
            click.echo(f"{label + ':':<12}{value}")


@model.command("load")
@model_argument
@base_option("Refuse unless MODEL was trained on this base.")
@json_option
@click.pass_obj
def load(data_dir: Path | None, model: str, base_id: str | None, as_json: bool) -> None:
    """Load MODEL ahead of its first request, or say why it cannot be."""
    with connect(data_dir) as suite, interruptible(f"The suite goes on loading {model}."):
        body = {"base_model": base_id} if base_id else {}
        loaded = suite.post(f"/v1/models/{_path(find_model(suite, model))}/load", body)
    print_json(loaded) if as_json else click.echo(
        f"{_name(loaded)} is in memory: {_size(loaded)}, {loaded['compute']}."
    )


@model.command("unload")
@model_argument
@json_option
@click.pass_obj
def unload(data_dir: Path | None, model: str, as_json: bool) -> None:
    """Give the memory of MODEL back once the requests that use it have ended; the next one loads it again."""
    with connect(data_dir) as suite:
        unloaded = suite.post(f"/v1/models/{_path(find_model(suite, model))}/unload")
    if as_json:
        print_json(unloaded)
        return
    click.echo(f"{model} is not in memory any more." if unloaded["unloaded"] else f"{model} was not in memory.")


@model.command("loaded")
@json_option
@click.pass_obj
def loaded(data_dir: Path | None, as_json: bool) -> None:
    """List what is in memory: bases, each followed by its adapters."""
    with connect(data_dir) as suite:
        rows = list(suite.listed("/v1/loaded_models"))
    if as_json:
        print_json(rows)
        return
    columns = {"name": "MODEL", "base_model": "ON BASE", "size": "MEMORY", "dtype": "COMPUTES IN", "loaded": "LOADED"}
    shown = [
        {
            **row,
            "name": _name(row),
            "size": _size(row),
            "dtype": row["compute"].partition(",")[0],
            "loaded": shown_time(row["load_time"]),
        }
        for row in rows
    ]
    empty = "Nothing is in memory. The first request loads what it needs, or: tenon model load MODEL"
    print_table(shown, columns, empty=empty, whole=("name", "loaded", "size"))


def _path(model: str) -> str:
    return quote(model, safe="/@:")


def _name(loaded: Json) -> str:
    return short_model(loaded["adapter_version"] or loaded["base_model"])


def _size(loaded: Json) -> str:
    return f"{loaded['size_bytes'] / _MIB:,.1f} MiB"
