"""``tenon base``: the base models that adapters are trained and served on."""

import json
import os
from pathlib import Path

import click

from cli import deletion
from cli.arguments import base_argument, completing, limit_option
from cli.client import Json, Suite, connect
from cli.derivation import check_derived, find_origin, origin_name
from cli.local_base import slug
from cli.names import BASES
from cli.output import interruptible, json_option, print_json, print_table, printable, shown_time
from cli.suite.options import default_data_dir
from services.common.bases.sources import fetch_base, pin_source
from services.common.errors import DomainError, Reason
from services.common.identity import DigestCache, fingerprint_base


@click.group()
def base() -> None:
    """Base models."""


@base.command("add")
@click.argument("source")
@click.option("--name", "base_id", help="Id to register it under.  [default: made from the source]")
@click.option(
    "--derived-from",
    "origin",
    shell_complete=completing(BASES),
    help="Registered base that this one is a copy of in another number format.",
)
@json_option
@click.pass_obj
def add(data_dir: Path | None, source: str, base_id: str | None, origin: str | None, as_json: bool) -> None:
    """Fingerprint a base model and register it.

    SOURCE is a directory, file:///directory, or hf://organisation/name[@revision] of the Hugging Face hub.

    --derived-from declares that both compute the same model: a cast or quantised copy, or a configuration that says the
    same in other words. Adapters of one then answer on the other where the server's policy allows it, and after a probe.
    A base of another architecture, tokenizer or processor is refused.
    """
    cache = (data_dir or default_data_dir()) / "cache"
    known = "Nothing is registered; the same command goes on with what was fetched."
    with connect(data_dir) as suite, interruptible(known):
        registered = register_base(suite, source, base_id or default_id(source), cache, origin=origin)
        root = registered["fingerprint"]["derived_from"]
        roots = suite.get("/v1/base_models", fingerprint_id=root)["data"] if root else []
    if as_json:
        print_json(registered)
    else:
        known = registered["fingerprint"]
        click.echo(f"{registered['id']}: {known['architecture']}, {int(known['parameter_count']):,} parameters")
        click.echo(f"fingerprint {known['id']}")
        if root:
            click.echo(f"derived from {origin_name(roots, registered)}")


@base.command("list")
@limit_option
@json_option
@click.pass_obj
def list_(data_dir: Path | None, limit: int | None, as_json: bool) -> None:
    """List the registered base models."""
    with connect(data_dir) as suite:
        rows = list(suite.listed("/v1/base_models", limit=limit))
    if as_json:
        print_json(rows)
        return
    columns = {"id": "ID", "architecture": "ARCHITECTURE", "parameters": "PARAMETERS", "print": "FINGERPRINT"}
    whole = ["id", "print"]
    if any(row["fingerprint"]["derived_from"] for row in rows):
        columns["origin"] = "DERIVED FROM"
        whole.append("origin")
    shown = [
        {
            "id": row["id"],
            "architecture": row["fingerprint"]["architecture"],
            "parameters": f"{int(row['fingerprint']['parameter_count']):,}",
            "print": row["fingerprint"]["id"][:16],
            "origin": origin_name(rows, row),
        }
        for row in rows
    ]
    empty = "No base models yet. Add one: tenon base add hf://Qwen/Qwen2.5-0.5B-Instruct"
    print_table(shown, columns, empty=empty, whole=whole)


@base.command("show")
@base_argument
@json_option
@click.pass_obj
def show(data_dir: Path | None, base_id: str, as_json: bool) -> None:
    """Show a base: its fingerprint, part by part, and where its files are; with --json, the whole document of it."""
    with connect(data_dir) as suite:
        found = suite.get(f"/v1/base_models/{base_id}", view="full")
        root = found["fingerprint"]["derived_from"]
        roots = suite.get("/v1/base_models", fingerprint_id=root)["data"] if root else []
    if as_json:
        print_json(found)
        return
    known = found["fingerprint"]
    lines = {
        "name": found["display_name"],
        "architecture": known["architecture"],
        "parameters": f"{int(known['parameter_count']):,}",
        "fingerprint": known["id"],
        "config": known["config_digest"],
        "structure": known["structure_root"],
        "weights": known["weights_root"],
        "tokenizer": known["tokenizer_digest"] or "none",
        "chat template": known["chat_template_digest"] or "none",
        "derived from": origin_name(roots, found) if root else "",
        "sources": ", ".join(found["sources"]),
        "registered": shown_time(found["create_time"]),
    }
    for label, value in lines.items():
        if value:
            click.echo(printable(f"{label + ':':<15}{value}"))


@base.command("delete")
@base_argument
@json_option
@click.pass_obj
def delete(data_dir: Path | None, base_id: str, as_json: bool) -> None:
    """Delete a base that no adapter version and no job needs; its files stay where they are."""
    deletion.delete(data_dir, f"/v1/base_models/{base_id}", base_id, as_json=as_json)


def register_base(suite: Suite, source: str, base_id: str, cache: Path, *, origin: str | None = None) -> Json:
    """Fetch a base, fingerprint its bytes, and register it under an id; gives the registered base model.

    Raises:
        DomainError: BASE_MODEL_NOT_FOUND for an ``origin`` that is not registered; BASE_FINGERPRINT_MISMATCH for one that
            the base cannot be derived from; BASE_MODEL_EXISTS where the id is taken by another base, or by this one with
            another origin.
    """
    parent = find_origin(suite, origin) if origin else None
    derived_from = parent.root if parent else None
    pinned = pin_source(source)
    click.echo(f"Reading {pinned} …", err=True)
    directory = fetch_base([pinned], cache_dir=cache, roots=[Path("/")])
    fingerprint = fingerprint_base(
        directory, cache=DigestCache(cache / "digests"), threads=os.cpu_count(), derived_from=derived_from
    )
    if parent and origin:
        check_derived(fingerprint, base_id, parent, origin)
    body = {
        "id": base_id,
        "display_name": display_name(source),
        "sources": [pinned],
        "fingerprint_document": json.loads(fingerprint.to_document()),
    }
    registered = suite.post("/v1/base_models", body)
    if derived_from and registered["fingerprint"]["derived_from"] != derived_from:
        raise DomainError(
            Reason.BASE_MODEL_EXISTS,
            f"{base_id} is registered already, {_origin_of(registered)}. Register it under another --name.",
        )
    return registered


def _origin_of(registered: Json) -> str:
    declared = registered["fingerprint"]["derived_from"]
    return f"derived from {declared[:12]}" if declared else "derived from no other base"


def display_name(source: str) -> str:
    """What people call the base: the hub's name, or the directory's."""
    if source.startswith("hf://"):
        return source.removeprefix("hf://").partition("@")[0]
    return Path(source.removeprefix("file://")).resolve().name


def default_id(source: str) -> str:
    """A valid id made from the last part of the source: ``hf://Qwen/Qwen2.5-0.5B`` gives ``qwen2.5-0.5b``."""
    return slug(display_name(source), option="--name")
