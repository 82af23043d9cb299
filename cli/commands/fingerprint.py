"""``tenon fingerprint``: what a base model is, without a suite."""

import json
from pathlib import Path

import click

from cli.local_base import PATH, fingerprint_of, open_local_base, rehash_option
from cli.output import exit_code, json_option, print_json
from services.common.errors import DomainError
from services.common.identity import BaseFingerprint


@click.command()
@click.argument("directory", metavar="BASE_DIR", type=PATH)
@click.option("--derived-from", metavar="ID", help="Fingerprint id of the base that this one is declared derived from.")
@rehash_option
@json_option
def fingerprint(directory: Path, derived_from: str | None, rehash: bool, as_json: bool) -> None:
    """Print the fingerprint of the base model in BASE_DIR. Needs no running suite.

    With --json, the complete document; of a directory that is no usable base, `verdict` (UNUSABLE), `reason` and
    `message`.
    """
    try:
        with open_local_base(directory) as base:
            result = fingerprint_of(base, rehash=rehash, derived_from=derived_from)
    except DomainError as error:
        if not as_json:
            raise
        print_json({"verdict": "UNUSABLE", "reason": error.reason.value, "message": error.message})
        raise SystemExit(exit_code(error)) from None
    if as_json:
        print_json(json.loads(result.to_document()))
    else:
        _print(result)


def _print(result: BaseFingerprint) -> None:
    lines = {
        "id": result.id,
        "architecture": result.architecture,
        "parameters": f"{result.parameter_count:,} in {len(result.tensors)} tensors",
        "config": result.config_digest,
        "structure": result.structure_root,
        "weights": result.weights_root,
        "tokenizer": result.tokenizer_digest or "none",
        "chat template": result.chat_template_digest or "none",
    }
    if result.derived_from:
        lines["derived from"] = result.derived_from
    for label, value in lines.items():
        click.echo(f"{label + ':':<15}{value}")
