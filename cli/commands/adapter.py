"""``tenon adapter``: what training made."""

from pathlib import Path

import click

from cli.client import Suite, find_suite
from cli.output import json_option, print_json, print_table


@click.group()
def adapter() -> None:
    """Adapters."""


@adapter.command("list")
@json_option
@click.pass_obj
def list_(data_dir: Path | None, as_json: bool) -> None:
    """List the adapters, with the version that answers for each and its base."""
    with Suite(find_suite(data_dir)) as suite:
        rows = list(suite.listed("/v1/adapters"))
    if as_json:
        print_json(rows)
        return
    columns = {"id": "ID", "base_model": "BASE", "latest": "LATEST VERSION", "update_time": "CHANGED"}
    shown = [{**row, "latest": (row.get("latest_version") or "")[:16]} for row in rows]
    print_table(shown, columns, empty="No adapters yet. Train one: tenon train --base BASE --data FILE --name NAME")
