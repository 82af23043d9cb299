from pathlib import Path

import pytest

from services.common.admission.listed import list_files
from services.common.admission.seal import make_declared
from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint
from services.common.manifest import AdapterManifest, Provenance
from tests.unit.admission.build import BASE_MODEL, CONFIG, Adapter


def test_a_declared_manifest_says_what_is_known_and_no_more(directory: Path, base: BaseFingerprint) -> None:
    Adapter(files={"README.md": b"no part of it", "tenon.manifest.json": b"an older one"}).write(directory)

    manifest = make_declared(directory, base, BASE_MODEL)

    assert manifest.files == list_files(directory)
    assert (manifest.provenance, manifest.base_model, manifest.base) == (
        Provenance.DECLARED,
        BASE_MODEL,
        base.summary(),
    )
    assert manifest.peft == dict(CONFIG)
    assert (manifest.chat_template, manifest.stop_token_ids, manifest.training, manifest.probe) == (None, (), {}, None)
    assert AdapterManifest.from_bytes(manifest.to_bytes()) == manifest


def test_the_same_adapter_gives_the_same_manifest(tmp_path: Path, base: BaseFingerprint) -> None:
    first = make_declared(Adapter().write(tmp_path / "one"), base, BASE_MODEL)
    second = make_declared(Adapter().write(tmp_path / "two"), base, BASE_MODEL)

    assert first.to_bytes() == second.to_bytes()


def test_a_base_needs_a_resource_name(directory: Path, base: BaseFingerprint) -> None:
    with pytest.raises(DomainError) as caught:
        make_declared(Adapter().write(directory), base, "Not A Name")

    assert caught.value.reason is Reason.MANIFEST_INVALID


def test_an_unsafe_directory_is_not_sealed(directory: Path, base: BaseFingerprint) -> None:
    with pytest.raises(DomainError) as caught:
        make_declared(Adapter(files={"adapter_model.bin": b""}).write(directory), base, BASE_MODEL)

    assert caught.value.reason is Reason.ADAPTER_UNSAFE_FILES
