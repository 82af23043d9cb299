"""``tenon adapter``: what training made, and what became of it."""

from collections.abc import Sequence
from pathlib import Path

import click

from cli import deletion
from cli.arguments import adapter_argument, checked_id, limit_option
from cli.client import Json, Suite, connect
from cli.commands.adapter_export import export
from cli.commands.adapter_import import import_
from cli.output import json_option, print_json, print_table, printable, shown_time
from cli.versions import find_version, short
from services.common.errors import DomainError, Reason


@click.group()
def adapter() -> None:
    """Adapters."""


adapter.add_command(import_)
adapter.add_command(export)


@adapter.command("list")
@limit_option
@json_option
@click.pass_obj
def list_(data_dir: Path | None, limit: int | None, as_json: bool) -> None:
    """List the adapters, with the version that answers for each, its base, and who vouches for it."""
    with connect(data_dir) as suite:
        rows = list(suite.listed("/v1/adapters", limit=limit))
    if as_json:
        print_json(rows)
        return
    columns = {
        "id": "ID",
        "base_model": "BASE",
        "provenance": "PROVENANCE",
        "latest": "LATEST VERSION",
        "changed": "CHANGED",
    }
    shown = [{**row, "latest": _latest(row), "changed": shown_time(row["update_time"])} for row in rows]
    empty = "No adapters yet. Train one: tenon train --base BASE --data FILE --name NAME"
    print_table(shown, columns, empty=empty, whole=("id", "latest", "changed"), spare=("changed", "provenance"))


@adapter.command("show")
@adapter_argument
@json_option
@click.pass_obj
def show(data_dir: Path | None, name: str, as_json: bool) -> None:
    """Show an adapter with its aliases and its versions, newest first."""
    with connect(data_dir) as suite:
        found = suite.get(f"/v1/adapters/{name}")
        versions = list(suite.listed(f"/v1/adapters/{name}/versions"))
    if as_json:
        print_json({**found, "versions": versions})
        return
    click.echo(f"{name}: {_answers(found)}")
    for line in filter(None, (found["display_name"], found["description"])):
        click.echo(printable(line))
    columns = {
        "digest": "VERSION",
        "state": "STATE",
        "provenance": "PROVENANCE",
        "base_model": "BASE",
        "signers": "SIGNED BY",
        "created": "CREATED",
        "aliases": "ALIASES",
    }
    rows = [{**version, **_shown(version, found["aliases"])} for version in versions]
    whole, spare = ("digest", "created"), ("signers", "base_model", "provenance")
    print_table(rows, columns, empty=f"{name} has no versions yet.", whole=whole, spare=spare)
    for alias_ in found["aliases"]:
        if alias_["gated"] or alias_["reason"]:
            click.echo(printable(f"{name}:{alias_['id']} is {_gate(alias_)}"))
    for version in versions:
        if version["state"] == "revoked":
            click.echo(printable(f"{short(version['id'])} was revoked {_when_and_why(version)}"))


@adapter.command("revoke")
@adapter_argument
@click.option("--version", "version", required=True, help="The version's digest, or its first 8 digits or more.")
@click.option("--reason", required=True, help="Why, in a line: whoever asks for the version is told.")
@json_option
@click.pass_obj
def revoke(data_dir: Path | None, name: str, version: str, reason: str, as_json: bool) -> None:
    """Withdraw a version for good: it is listed, and answers no more."""
    with connect(data_dir) as suite:
        digest = find_version(suite, name, version)
        before = _state(suite, name, digest)
        revoked = suite.post(f"/v1/adapters/{name}/versions/{digest}/revoke", {"reason": reason})
        found = suite.get(f"/v1/adapters/{name}")
    if as_json:
        print_json(revoked)
        return
    known = f"was revoked before, {_when_and_why(revoked)}"
    outcome = known if before == "revoked" else f"is revoked: {revoked['revoke_reason']}"
    click.echo(printable(f"Version {short(digest)} of {name} {outcome}"))
    click.echo(_what_answers_now(found, digest))


@adapter.command("alias")
@adapter_argument
@click.argument("alias_id", metavar="ALIAS", callback=checked_id)
@click.argument("version", required=False)
@click.option("--gated/--not-gated", default=None, help="Let it move only to versions that have learned.")
@click.option("--reason", default="", help="Why its gate shall let it pass all the same, in a line; it is kept.")
@json_option
@click.pass_obj
def alias(
    data_dir: Path | None,
    name: str,
    alias_id: str,
    version: str | None,
    gated: bool | None,
    reason: str,
    as_json: bool,
) -> None:
    """Point an alias of an adapter at one of its versions; `latest` is what answers for the adapter itself.

    VERSION is a digest, or its first 8 digits or more. Without it, only the gate is set.
    """
    if version is None and gated is None:
        raise click.UsageError("Give a VERSION to point it at, or --gated or --not-gated to set its gate.")
    with connect(data_dir) as suite:
        digest = None if version is None else find_version(suite, name, version)
        asked = {"version": digest, "gated": gated, "reason": reason}
        body = {key: value for key, value in asked.items() if value not in {None, ""}}
        moved = suite.put(f"/v1/adapters/{name}/aliases/{alias_id}", body)
    if as_json:
        print_json(moved)
        return
    click.echo(f"{name}:{alias_id} answers with version {short(moved['version'])} now.")
    if moved["gated"]:
        click.echo("It is gated: it moves only to versions whose training report says that they learned.")
    if moved["reason"]:
        click.echo(printable(f"Kept as the reason: {moved['reason']}"))


@adapter.command("rollback")
@adapter_argument
@click.option("--alias", "alias_id", default="latest", callback=checked_id, help="Alias to move.  [default: latest]")
@click.option("--reason", default="", help="Why its gate shall let it pass all the same, in a line; it is kept.")
@json_option
@click.pass_obj
def rollback(data_dir: Path | None, name: str, alias_id: str, reason: str, as_json: bool) -> None:
    """Point an alias of an adapter at the version before the one it points at; one that was revoked is passed over."""
    with connect(data_dir) as suite:
        found = suite.get(f"/v1/adapters/{name}")
        now = next((alias for alias in found["aliases"] if alias["id"] == alias_id), None)
        if now is None:
            raise DomainError(Reason.ALIAS_NOT_FOUND, f"{name} has no alias {alias_id}. {_known_aliases(found)}")
        before = _version_before(list(suite.listed(f"/v1/adapters/{name}/versions")), now["version"])
        if before is None:
            text = f"{name} has no version before {short(now['version'])} that could answer."
            raise DomainError(Reason.ADAPTER_VERSION_NOT_FOUND, f"{text} `tenon adapter show {name}` lists them.")
        # Whoever has moved it meanwhile is not overruled.
        body = {"version": before, "etag": now["etag"], **({"reason": reason} if reason else {})}
        moved = suite.put(f"/v1/adapters/{name}/aliases/{alias_id}", body)
    if as_json:
        print_json(moved)
        return
    click.echo(f"{name}:{alias_id} answers with version {short(before)} again; before, with {short(now['version'])}.")


@adapter.command("unalias")
@adapter_argument
@click.argument("alias_id", metavar="ALIAS", callback=checked_id)
@json_option
@click.pass_obj
def unalias(data_dir: Path | None, name: str, alias_id: str, as_json: bool) -> None:
    """Delete an alias of an adapter; the version that it points at stays."""
    deletion.delete(data_dir, f"/v1/adapters/{name}/aliases/{alias_id}", f"{name}:{alias_id}", as_json=as_json)


@adapter.command("delete")
@adapter_argument
@click.option("--version", "version", help="Delete this version alone: its digest, or its first 8 digits or more.")
@click.option("--force", is_flag=True, help="Delete the adapter's versions and aliases as well.")
@json_option
@click.pass_obj
def delete(data_dir: Path | None, name: str, version: str | None, force: bool, as_json: bool) -> None:
    """Delete an adapter, or one of its versions, for good; what still depends on it is named, and keeps it."""
    if version is not None and force:
        raise click.UsageError("--force is for a whole adapter; move or delete the aliases of a version yourself.")
    path, what = f"/v1/adapters/{name}", name
    if version is not None:
        with connect(data_dir) as suite:
            digest = find_version(suite, name, version)
        path, what = f"{path}/versions/{digest}", f"Version {short(digest)} of {name}"
    deletion.delete(data_dir, path + ("?force=true" if force else ""), what, as_json=as_json)


def _version_before(versions: Sequence[Json], digest: str) -> str | None:
    """The newest version that can answer, of those older than one; versions come newest first."""
    ids = [version["id"] for version in versions]
    older = versions[ids.index(digest) + 1 :] if digest in ids else ()
    return next((version["id"] for version in older if version["state"] == "ready"), None)


def _known_aliases(found: Json) -> str:
    return f"It has {', '.join(alias['id'] for alias in found['aliases']) or 'none'}."


def _answers(found: Json) -> str:
    if not found["latest_version"]:
        return "has no version that answers for it"
    version = short(found["latest_version"])
    if found["state"] != "ready":
        return f"does not answer: its latest version {version} is {found['state']}"
    return f"answers with {version} ({found['provenance']}, on {found['base_model']})"


def _gate(alias_: Json) -> str:
    why = f": {alias_['reason']}" if alias_["reason"] else ""
    gate = "gated" if alias_["gated"] else "not gated any more"
    passed = ", and its version was let through" if alias_["gated"] and why else ""
    return f"{gate}{passed}{why}"


def _state(suite: Suite, name: str, digest: str) -> str | None:
    versions = suite.listed(f"/v1/adapters/{name}/versions")
    return next((str(version["state"]) for version in versions if version["id"] == digest), None)


def _when_and_why(revoked: Json) -> str:
    return f"on {shown_time(revoked['revoke_time'])} UTC: {revoked['revoke_reason']}"


def _latest(row: Json) -> str:
    version = short(row["latest_version"] or "")
    return version if row["state"] in {None, "ready"} else f"{version} ({row['state']})"


def _shown(version: Json, aliases: Sequence[Json]) -> Json:
    return {
        "digest": short(version["id"]),
        "created": shown_time(version["create_time"]),
        "signers": ", ".join(key_id[:12] for key_id in version["signed_by"]) or "nobody",
        "aliases": ", ".join(_at(version["id"], aliases)),
    }


def _at(digest: str, aliases: Sequence[Json]) -> list[str]:
    return [alias["id"] for alias in aliases if alias["version"] == digest]


def _what_answers_now(found: Json, revoked: str) -> str:
    name, stopped = found["id"], _at(revoked, found["aliases"])
    if stopped:
        how = f"tenon adapter alias {name} {stopped[0]} VERSION"
        which = ", ".join(f"{name}:{alias}" for alias in stopped)
        return f"{which} answers no more. Point it at another version: {how}"
    if found["state"] == "ready":
        return f"{name} answers with version {short(found['latest_version'])}, as before."
    return "No alias pointed at it."
