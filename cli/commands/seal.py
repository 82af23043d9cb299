"""``tenon seal``: a manifest and a signature for an adapter that was trained elsewhere, without a suite."""

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from cli.keys import signing_key, trusted_keys
from cli.local_base import PATH, base_label, fingerprint_of, open_local_base, rehash_option, slug
from cli.output import EXIT_REFUSED, EXIT_UNUSABLE, json_option, print_error, print_json
from cli.sealing import Declaration, Sealed, check_writable
from cli.sealing import seal as seal_directory
from services.common.admission.directory import require_adapter
from services.common.admission.pipeline import Verdict
from services.common.errors import DomainError, Reason
from services.common.manifest import Provenance


@click.command()
@click.argument("directory", metavar="ADAPTER_DIR", type=PATH)
@click.option("--base", metavar="BASE_DIR", type=PATH, required=True, help="Base it was trained on.")
@click.option("--base-name", metavar="NAME", help="Id to call that base by.  [default: made from its directory's name]")
@click.option(
    "--key",
    metavar="PEM",
    type=PATH,
    help="Ed25519 key to sign with.  [default: $XDG_CONFIG_HOME/tenon/keys/own.pem, made on first use]",
)
@click.option(
    "--trust",
    metavar="PEM",
    type=PATH,
    multiple=True,
    help="Whose manifest is signed as it is, beside your own and the suite's: a PEM file, or a directory of *.pem.",
)
@click.option("--force", is_flag=True, help="Replace a manifest that is there and says something else.")
@rehash_option
@json_option
@click.pass_obj
def seal(
    data_dir: Path | None,
    *,
    directory: Path,
    base: Path,
    base_name: str | None,
    key: Path | None,
    trust: Sequence[Path],
    force: bool,
    rehash: bool,
    as_json: bool,
) -> None:
    """Declare that the adapter in ADAPTER_DIR was trained on the base in BASE_DIR, and sign for it.

    Everything that can be known of it must be right; then tenon.manifest.json and tenon.manifest.dsse.json are written
    beside its files. Where they are there already and say the same, the signature is added. Needs no running suite.
    """
    try:
        require_adapter(directory)
        check_writable(directory)
        with open_local_base(base) as opened:
            declaration = Declaration(
                key=signing_key(key),
                trusted=trusted_keys(data_dir, trust),
                base=fingerprint_of(opened, rehash=rehash),
                label=base_label(base),
                base_model=base_name or slug(base_label(base), option="--base-name"),
                renames=base_name is not None,
                force=force,
            )
    except DomainError as error:
        _end(Verdict.UNUSABLE, error, as_json=as_json)
    try:
        sealed = seal_directory(directory, declaration)
    except DomainError as error:
        # Of an adapter nothing else is said with this reason.
        verdict = Verdict.UNUSABLE if error.reason is Reason.INVALID_ARGUMENT else Verdict.REFUSED
        _end(verdict, error, as_json=as_json)
    _print(sealed, declaration, as_json=as_json)


def _end(verdict: Verdict, error: DomainError, *, as_json: bool) -> NoReturn:
    if as_json:
        print_json({"verdict": verdict.value, "reason": error.reason.value, "message": error.message})
    else:
        print_error(error)
    raise SystemExit(EXIT_UNUSABLE if verdict is Verdict.UNUSABLE else EXIT_REFUSED)


def _print(sealed: Sealed, declaration: Declaration, *, as_json: bool) -> None:
    manifest = sealed.manifest
    message = (
        f"Sealed for {declaration.label} ({manifest.base_model}, {manifest.base_fingerprint_id[:12]}): "
        f"{manifest.provenance}, version {manifest.digest[:12]}."
    )
    if sealed.replaced is Provenance.WITNESSED:
        click.echo(
            "The manifest that was replaced said that Tenon witnessed the training; this one declares it.", err=True
        )
    if as_json:
        document = {
            "verdict": Verdict.ADMISSIBLE.value,
            "reason": None,
            "message": message,
            "provenance": manifest.provenance.value,
            "version": manifest.digest,
            "base": manifest.base_fingerprint_id,
            "base_model": manifest.base_model,
            "key_id": declaration.key.public.key_id,
            "signatures": list(sealed.signers),
        }
        print_json(document)
        return
    others = len(sealed.signers) - 1
    also = f", beside {others} {'others' if others > 1 else 'other'}" if others else ""
    click.echo(f"{message}\nSigned by the key {declaration.key.public.key_id}{also}.")
