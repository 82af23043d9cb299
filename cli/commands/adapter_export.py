"""``tenon adapter export``: an adapter as a PEFT directory, with its manifest and signatures."""

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cli.arguments import adapter_argument
from cli.client import Json, Suite, connect
from cli.output import interruptible, json_option, print_json
from cli.transfer import beside, passing, unwritable
from cli.versions import find_version, is_version, short
from services.common.admission.directory import ENVELOPE_FILE, MANIFEST_FILE
from services.common.errors import DomainError, Reason
from services.common.manifest import MAX_MANIFEST_BYTES, AdapterManifest, ManifestFile, manifest_digest
from services.common.signing import MAX_ENVELOPE_BYTES


@click.command("export")
@adapter_argument
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--version", "reference", metavar="VERSION", help="A digest, its first digits, or an alias.  [default: latest]"
)
@json_option
@click.pass_obj
def export(data_dir: Path | None, *, name: str, directory: Path | None, reference: str | None, as_json: bool) -> None:
    """Write the adapter NAME to DIR, by default ./NAME: a directory that PEFT loads, with its manifest and signatures.

    DIR is written completely or not at all, and must not exist or be empty.
    """
    target = directory or Path(name)
    _require_free(target)
    with connect(data_dir) as suite, interruptible("Nothing is written."), _appearing(target) as pending:
        digest = _find(suite, name, reference)
        source = f"/v1/adapters/{name}/versions/{digest}/files"
        manifest = _manifest(suite, source, digest)
        (pending / MANIFEST_FILE).write_bytes(manifest.to_bytes())
        (pending / ENVELOPE_FILE).write_bytes(_small(suite.download(f"{source}/{ENVELOPE_FILE}"), MAX_ENVELOPE_BYTES))
        for file in manifest.files:
            chunks = passing(suite.download(f"{source}/{file.path}"), file.size, file.path)
            _write(chunks, pending / file.path, file)
    written = _described(name, digest, manifest, target)
    print_json(written) if as_json else _print(written)


def _require_free(target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        if not any(target.iterdir()):
            return
        raise DomainError(Reason.INVALID_ARGUMENT, f"{target} is not empty. Name a directory that is not there yet.")
    if target.exists() or target.is_symlink():
        raise DomainError(Reason.INVALID_ARGUMENT, f"{target} is no directory. Name one that is not there yet.")
    if not target.absolute().parent.is_dir():
        raise DomainError(Reason.INVALID_ARGUMENT, f"There is no directory {target.absolute().parent} to put it in.")


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A directory beside the target that takes its name at the end of the block, or vanishes."""
    pending = beside(target)
    try:
        pending.mkdir()
        yield pending
        # Over an empty directory this works too, and never over another.
        pending.rename(target)
    except OSError as error:
        raise unwritable(target, error) from None
    finally:
        shutil.rmtree(pending, ignore_errors=True)


def _find(suite: Suite, name: str, reference: str | None) -> str:
    found = suite.get(f"/v1/adapters/{name}")
    aliases = {alias["id"]: str(alias["version"]) for alias in found["aliases"]}
    wanted = reference or "latest"
    if wanted in aliases:
        return aliases[wanted]
    if reference is None:
        text = f"{name} has no version that answers for it. `tenon adapter show {name}` lists those there are."
        raise DomainError(Reason.ALIAS_NOT_FOUND, text)
    if not is_version(reference):
        known = ", ".join(aliases) or "none"
        text = (
            f"{reference[:80]!r} is neither an alias of {name} (it has {known}) nor a version: 8 to 64 of the digits that "
            f"`tenon adapter show {name}` lists."
        )
        raise DomainError(Reason.INVALID_ARGUMENT, text)
    return find_version(suite, name, reference)


def _manifest(suite: Suite, source: str, digest: str) -> AdapterManifest:
    data = _small(suite.download(f"{source}/{MANIFEST_FILE}"), MAX_MANIFEST_BYTES)
    if manifest_digest(data) != digest:
        raise _corrupt(MANIFEST_FILE)
    return AdapterManifest.from_bytes(data)


def _small(chunks: Iterable[bytes], limit: int) -> bytes:
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > limit:
            raise DomainError(Reason.LIMIT_EXCEEDED, f"The suite sent a document of more than {limit} bytes.")
    return bytes(data)


def _write(chunks: Iterable[bytes], path: Path, expected: ManifestFile) -> None:
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as file:
        for chunk in chunks:
            size += len(chunk)
            if size > expected.size:
                break
            digest.update(chunk)
            file.write(chunk)
    if (size, digest.hexdigest()) != (expected.size, expected.sha256):
        raise _corrupt(expected.path)


def _corrupt(path: str) -> DomainError:
    text = f"{path}, as the suite sent it, is not the file that was published; nothing was written. Try again."
    return DomainError(Reason.ARTIFACT_CORRUPT, text, {"file": path})


def _described(name: str, digest: str, manifest: AdapterManifest, target: Path) -> Json:
    return {
        "adapter": name,
        "version": digest,
        "base_model": manifest.base_model.removeprefix("baseModels/"),
        "provenance": manifest.provenance.value,
        "directory": str(target.absolute()),
        "files": [*(file.path for file in manifest.files), MANIFEST_FILE, ENVELOPE_FILE],
    }


def _print(written: Json) -> None:
    click.echo(f"{written['adapter']}: version {short(written['version'])}, for {written['base_model']}")
    click.echo(f"provenance: {written['provenance']}")
    click.echo(f"{len(written['files'])} files in {written['directory']}")
