"""``tenon fingerprint``: what a base model is, without a suite."""

import json
from pathlib import Path

import click

from cli.output import json_option
from services.common.identity import fingerprint_base


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@json_option
def fingerprint(directory: Path, as_json: bool) -> None:
    """Print the fingerprint of the base model in DIRECTORY. Needs no running suite."""
    result = fingerprint_base(directory)
    if as_json:
        click.echo(json.dumps(json.loads(result.to_document()), indent=2, ensure_ascii=False))
        return
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
    for label, value in lines.items():
        click.echo(f"{label + ':':<15}{value}")
