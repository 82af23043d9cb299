"""``tenon adapter import``: an adapter that was trained elsewhere, taken in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from cli.arguments import base_option, completing
from cli.client import Json, Suite, connect
from cli.keys import own_public_key
from cli.local_base import slug
from cli.names import ADAPTERS
from cli.output import EXIT_REFUSED, EXIT_UNUSABLE, CommandError, interruptible, json_option, print_json
from cli.versions import short
from services.common.admission.directory import (
    CHAT_TEMPLATE_FILE,
    CONFIG_FILE,
    ENVELOPE_FILE,
    MANIFEST_FILE,
    WEIGHTS_FILE,
    open_file,
    read_file,
    refuse_unsafe,
    require_adapter,
)
from services.common.errors import DomainError, Reason
from services.common.manifest import AdapterManifest
from services.common.resource_names import check_slug

FAULTS: Final = frozenset({Reason.SAFETENSORS_INVALID, Reason.MANIFEST_INVALID, Reason.ARTIFACT_CORRUPT})
"""Reasons that elsewhere are faults of a request or of a store, and here are the adapter's own, so it is refused."""


@click.command("import")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@base_option("Base model it was trained on, by its id.", metavar="NAME", required=True)
@click.option(
    "--name",
    "adapter_id",
    metavar="ADAPTER",
    shell_complete=completing(ADAPTERS),
    help="Id to give it.  [default: made from the directory's name]",
)
@click.option(
    "--ignore-manifest", is_flag=True, help="Declare it anew, though it comes with a manifest of its own, if it does."
)
@json_option
@click.pass_obj
def import_(
    data_dir: Path | None,
    *,
    directory: Path,
    base_id: str,
    adapter_id: str | None,
    ignore_manifest: bool,
    as_json: bool,
) -> None:
    """Take the PEFT adapter in DIR as a new version of an adapter, which is made if need be.

    Without a manifest, you declare by this that it was trained on the base: all that can be known of it is checked, and
    it is marked as declared wherever it is shown. With one, it must be signed by a key that the suite trusts. Nothing is
    kept of an adapter that is refused.

    `latest` points to the new version at once, so that it is what answers for the adapter; `tenon adapter alias` points
    it back.

    Exit status: 3 refused, 2 no adapter there, 4 no such base.
    """
    name = check_slug(adapter_id or slug(directory.resolve().name, option="--name"), "name")
    check_slug(base_id, "base")
    try:
        require_adapter(directory)
    except DomainError as error:
        raise CommandError(error, EXIT_UNUSABLE) from None
    try:
        files = _files(directory, ignore_manifest=ignore_manifest)
        with connect(data_dir) as suite, interruptible("Nothing is kept of what was not sent whole."):
            before = _what_answered(suite, name)
            version = suite.upload_files(f"/v1/adapters/{name}/versions", files, {"base_model": base_id})
    except DomainError as error:
        raise _refusal(error) from None
    if as_json:
        print_json(version)
    else:
        _print(version, before)


def _files(directory: Path, *, ignore_manifest: bool) -> Sequence[Path]:
    """What is sent: PEFT and trainers write much beside an adapter that is no part of it."""
    refuse_unsafe(directory)
    manifest = None if ignore_manifest else read_file(directory, MANIFEST_FILE)
    if manifest is None:
        names = [CONFIG_FILE, WEIGHTS_FILE, *_existing(directory, CHAT_TEMPLATE_FILE)]
    else:
        listed = [file.path for file in AdapterManifest.from_bytes(manifest).files]
        names = [*listed, MANIFEST_FILE, *_existing(directory, ENVELOPE_FILE)]
    for name in names:
        with open_file(directory, name):
            pass
    return [directory / name for name in names]


def _existing(directory: Path, name: str) -> Sequence[str]:
    return [name] if (directory / name).exists() else []


def _what_answered(suite: Suite, name: str) -> Json | None:
    """The adapter as it is before, if it is there and something answers for it."""
    try:
        adapter = suite.get(f"/v1/adapters/{name}")
    except DomainError as error:
        if error.reason is not Reason.ADAPTER_NOT_FOUND:
            raise
        return None
    return adapter if adapter["latest_version"] else None


def _refusal(error: DomainError) -> Exception:
    if error.reason in FAULTS:
        return CommandError(error, EXIT_REFUSED)
    if error.reason is not Reason.SIGNATURE_UNTRUSTED:
        return error
    own = own_public_key(error.metadata.get("key_ids", "").split(","))
    key = f"your own public key, {own}," if own else "the signer's public key"
    advice = (
        f"Import it as your own declaration with --ignore-manifest, or put {key} into DIR/keys/trusted of the suite, where "
        "it counts at once."
    )
    return DomainError(error.reason, f"{error.message}\n{advice}", error.metadata)


def _print(version: Json, before: Json | None) -> None:
    name, base = version["adapter"], version["base_model"]
    click.echo(f"{name}: version {short(version['id'])}, for {base}")
    if version["provenance"] == "declared":
        click.echo(
            f"provenance: declared. Whoever signed it says that it was trained on {base}; nobody here has seen it."
        )
    else:
        click.echo(
            f"provenance: {version['provenance']}. It was trained on {base} by a suite whose key is trusted here."
        )
    click.echo(_what_answers_now(name, version["id"], before))
    click.echo(f"Try it: tenon chat {name}")


def _what_answers_now(name: str, version: str, before: Json | None) -> str:
    if before is None:
        return f"{name} answers with it now."
    if before["latest_version"] == version:
        return f"{name} answers with it, as before."
    known = before["provenance"] if before["state"] == "ready" else before["state"]
    return f"{name} answers with it now; before, with {short(before['latest_version'])} ({known})."
