"""``tenon key``, ``tenon project`` and ``tenon audit``: who may do what, and who did."""

from pathlib import Path

import click

from cli import deletion
from cli.arguments import checked_id, key_argument, limit_option
from cli.client import Json, connect
from cli.output import json_option, print_json, print_table, printable, shown_time
from cli.versions import short

_SCOPES = click.Choice(["read", "train", "serve", "admin"])


@click.group()
def key() -> None:
    """API keys."""


@key.command("create")
@click.option("--name", "display_name", default="", help="What people call it.")
@click.option("--scope", "scopes", type=_SCOPES, multiple=True, required=True, help="What it may do. May be repeated.")
@click.option("--all-projects", is_flag=True, help="In every project.")
@click.option("--requests-per-minute", type=click.IntRange(0), default=0, help="0 sets no limit.  [default: 0]")
@click.option("--tokens-per-minute", type=click.IntRange(0), default=0, help="0 sets no limit.  [default: 0]")
@click.option("--expires-in-days", type=click.IntRange(1, 3660), help="Left out, it does not expire.")
@json_option
@click.pass_obj
def create(
    data_dir: Path | None,
    /,
    *,
    scopes: tuple[str, ...],
    expires_in_days: int | None,
    as_json: bool,
    **asked: str | int | bool,
) -> None:
    """Make a key; it is printed this once, alone on standard output."""
    body: Json = {**asked, "scopes": list(scopes)}
    if expires_in_days is not None:
        body["expires_in_seconds"] = expires_in_days * 86_400
    with connect(data_dir) as suite:
        made = suite.post("/v1/api_keys", body)
    if as_json:
        print_json(made)
        return
    click.echo(f"{made['id']} of project {made['project']}. Keep the key: it is not shown again.", err=True)
    click.echo(made["secret"])


@key.command("list")
@limit_option
@json_option
@click.pass_obj
def list_keys(data_dir: Path | None, limit: int | None, as_json: bool) -> None:
    """List the project's keys, the newest first."""
    with connect(data_dir) as suite:
        rows = list(suite.listed("/v1/api_keys", limit=limit))
    if as_json:
        print_json(rows)
        return
    columns = {"id": "ID", "display_name": "NAME", "prefix": "BEGINS", "may": "MAY", "state": "STATE", "made": "MADE"}
    shown = [{**row, "may": _may(row), "state": _state(row), "made": shown_time(row["create_time"])} for row in rows]
    empty = "No keys yet. Make one: tenon key create --scope serve"
    print_table(shown, columns, empty=empty, whole=("id", "state"), spare=("prefix", "made"))


@key.command("show")
@key_argument
@json_option
@click.pass_obj
def show(data_dir: Path | None, key_id: str, as_json: bool) -> None:
    """Show a key, without its secret, which nobody has but its holder."""
    with connect(data_dir) as suite:
        found = suite.get(f"/v1/api_keys/{key_id}")
    if as_json:
        print_json(found)
        return
    lines = {
        "name": found["display_name"],
        "begins": found["prefix"],
        "project": found["project"],
        "may": _may(found),
        "state": _state(found),
        "limits": _limits(found),
        "made": f"{shown_time(found['create_time'])} by {found['creator'] or 'the suite'}",
    }
    for label, value in lines.items():
        if value:
            click.echo(printable(f"{label + ':':<10}{value}"))


@key.command("revoke")
@key_argument
@json_option
@click.pass_obj
def revoke(data_dir: Path | None, key_id: str, as_json: bool) -> None:
    """End a key, within five seconds everywhere."""
    with connect(data_dir) as suite:
        ended = suite.post(f"/v1/api_keys/{key_id}/revoke")
    print_json(ended) if as_json else click.echo(f"{key_id} is revoked.")


@click.group()
def project() -> None:
    """Projects."""


@project.command("create")
@click.argument("project_id")
@click.option("--name", "display_name", default="", help="What people call it.")
@json_option
@click.pass_obj
def create_project(data_dir: Path | None, project_id: str, display_name: str, as_json: bool) -> None:
    """Make a project."""
    with connect(data_dir) as suite:
        made = suite.post("/v1/projects", {"id": project_id, "display_name": display_name})
    print_json(made) if as_json else click.echo(
        f"{made['id']} is there. Commands use it by TENON_PROJECT={made['id']}."
    )


@project.command("delete")
@click.argument("project_id", callback=checked_id)
@json_option
@click.pass_obj
def delete_project(data_dir: Path | None, project_id: str, as_json: bool) -> None:
    """Delete a project that holds nothing; its id is never given again."""
    deletion.delete(data_dir, f"/v1/projects/{project_id}", project_id, as_json=as_json)


@project.command("list")
@limit_option
@json_option
@click.pass_obj
def list_projects(data_dir: Path | None, limit: int | None, as_json: bool) -> None:
    """List the projects that the key is for."""
    with connect(data_dir) as suite:
        rows = list(suite.listed("/v1/projects", limit=limit))
    if as_json:
        print_json(rows)
        return
    shown = [{**row, "made": shown_time(row["create_time"])} for row in rows]
    print_table(shown, {"id": "ID", "display_name": "NAME", "made": "MADE"}, empty="No projects.", whole=("id",))


@click.command()
@click.option("--all-projects", is_flag=True, help="Of every project.")
@click.option("--limit", type=click.IntRange(1), metavar="N", default=50, help="At most so many.  [default: 50]")
@json_option
@click.pass_obj
def audit(data_dir: Path | None, all_projects: bool, limit: int, as_json: bool) -> None:
    """Show what was changed, by whom and from where, the latest first."""
    with connect(data_dir) as suite:
        everywhere = str(all_projects).lower()
        rows = list(suite.listed("/v1/audit_events", limit=limit, all_projects=everywhere))
    if as_json:
        print_json(rows)
        return
    columns = {"when": "TIME", "who": "WHO", "what": "WHAT", "resource": "ON", "peer": "FROM", "code": "OUTCOME"}
    shown = [
        {
            **row,
            "when": shown_time(row["time"]),
            "who": printable(row["principal"].rpartition("/")[2]),
            "what": row["method"].rpartition("/")[2],
            "resource": _resource(row, with_project=all_projects),
        }
        for row in rows
    ]
    print_table(
        shown, columns, empty="Nothing was changed yet.", whole=("when", "who", "what", "code"), spare=("peer",)
    )


def _resource(row: Json, *, with_project: bool) -> str:
    name = str(row["resource"])
    if not with_project:
        name = name.removeprefix(f"projects/{row['project']}/")
    parent, _, last = name.rpartition("/")
    return f"{parent}/{short(last)}" if parent.endswith("/versions") else name


def _may(row: Json) -> str:
    return ", ".join(row["scopes"]) + (" in all projects" if row["all_projects"] else "")


def _limits(row: Json) -> str:
    limits = {"requests": row["requests_per_minute"], "tokens": row["tokens_per_minute"]}
    return ", ".join(f"{limit:,} {what} a minute" for what, limit in limits.items() if limit)


def _state(row: Json) -> str:
    if row["revoke_time"]:
        return "revoked"
    return f"until {shown_time(row['expire_time'])}" if row["expire_time"] else "valid"
