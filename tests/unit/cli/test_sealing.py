"""Seals that cannot be written, and envelopes that are full; the rest is in tests/e2e/offline."""

import os
from pathlib import Path
from typing import NoReturn

import pytest

from cli import sealing
from cli.sealing import Declaration, check_writable, seal
from services.common.errors import DomainError, Reason
from services.common.identity import fingerprint_base
from services.common.signing import Envelope, TrustedKeys
from services.common.signing.envelope import MAX_SIGNATURES
from tests.support.keys import TEST_KEY
from tests.unit.admission.build import BASE_TENSORS, Adapter
from tests.unit.identity.build import Base

MANIFEST, ENVELOPE = "tenon.manifest.json", "tenon.manifest.dsse.json"


@pytest.fixture(scope="module")
def declaration(tmp_path_factory: pytest.TempPathFactory) -> Declaration:
    directory = Base(tensors=BASE_TENSORS).write(tmp_path_factory.mktemp("base") / "llama")
    return Declaration(
        base=fingerprint_base(directory, threads=1),
        label="a base",
        base_model="a-base",
        renames=False,
        key=TEST_KEY,
        trusted=TrustedKeys([]),
    )


def test_a_directory_that_is_read_only_is_told_beforehand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check_writable(tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK)
    with pytest.raises(DomainError, match="cannot be written to: it is read-only for this user") as raised:
        check_writable(tmp_path)
    assert raised.value.reason is Reason.INVALID_ARGUMENT


def test_a_disk_that_is_full_leaves_nothing_that_anybody_vouches_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, declaration: Declaration
) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    adapter = Adapter().write(tmp_path / "adapter")
    monkeypatch.setattr(sealing, "write_atomically", full)
    with pytest.raises(DomainError, match="No space left on device"):
        seal(adapter, declaration)
    assert not (adapter / MANIFEST).exists()

    monkeypatch.undo()
    sealed = seal(adapter, declaration)
    monkeypatch.setattr(sealing, "write_atomically", full)
    assert seal(adapter, declaration) == sealed, "the same was written again"


def test_signatures_have_an_end(tmp_path: Path, declaration: Declaration) -> None:
    adapter = Adapter().write(tmp_path / "adapter")
    payload = seal(adapter, declaration).manifest.to_bytes()
    others = {f"{number:064x}": bytes(64) for number in range(MAX_SIGNATURES)}
    (adapter / ENVELOPE).write_bytes(Envelope(payload, others).to_bytes())
    with pytest.raises(DomainError, match="16 signatures already") as raised:
        seal(adapter, declaration)
    assert raised.value.reason is Reason.LIMIT_EXCEEDED
    assert Envelope.from_bytes((adapter / ENVELOPE).read_bytes()).signatures == others
