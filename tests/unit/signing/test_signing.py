"""Keys, DSSE envelopes and trust."""

import base64
import json
import stat
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import DomainError, Reason
from services.common.signing import (
    Envelope,
    PublicKey,
    SigningKey,
    TrustedKeys,
    holds_private_key,
    make_key_file,
    sign,
)
from services.common.signing.envelope import MAX_ENVELOPE_BYTES, PAYLOAD_TYPE, signed_bytes

MANIFEST = b'{"scheme":"tenon.adapter/1"}'
ONE, TWO, THREE = (SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in (1, 2, 3))


def reason_of(call: Callable[[], object]) -> Reason:
    with pytest.raises(DomainError) as caught:
        call()
    return caught.value.reason


def trusting(*keys: SigningKey) -> TrustedKeys:
    return TrustedKeys(key.public for key in keys)


def test_what_a_trusted_key_signed_is_believed() -> None:
    assert trusting(ONE, TWO).verify(sign(MANIFEST, TWO).to_bytes(), MANIFEST) == TWO.public.key_id


def test_golden_envelope() -> None:
    # Ed25519 is deterministic: the envelope of this key and manifest can be made in any language.
    document = json.loads(sign(MANIFEST, ONE).to_bytes())
    assert ONE.public.key_id == "fd110d301d2f077de1414b8f99f441b1403fab207b2052fbd2c065e4ee8e7dc2"
    assert signed_bytes(MANIFEST) == b"DSSEv1 37 application/vnd.tenon.adapter.v1+json 28 " + MANIFEST
    assert document["signatures"][0]["sig"] == (
        "znAk3UHoX6px2/lRItVEDpDGUD3IDVj0loOIGzG7xWG3yAcObFpV0BqJpsdgxHHEiPZ+6XMja9kRHxVhrqIaDw=="
    )


def test_no_signature_is_missing() -> None:
    assert reason_of(lambda: trusting(ONE).verify(None, MANIFEST)) is Reason.SIGNATURE_MISSING
    assert reason_of(lambda: trusting(ONE).verify(b"", MANIFEST)) is Reason.SIGNATURE_MISSING


def test_a_key_that_is_not_trusted_is_named() -> None:
    with pytest.raises(DomainError) as caught:
        trusting(ONE).verify(sign(MANIFEST, TWO).to_bytes(), MANIFEST)
    assert caught.value.reason is Reason.SIGNATURE_UNTRUSTED
    assert TWO.public.key_id[:12] in caught.value.message
    assert ONE.public.key_id[:12] in caught.value.message
    assert reason_of(lambda: trusting().verify(sign(MANIFEST, ONE).to_bytes(), MANIFEST)) is Reason.SIGNATURE_UNTRUSTED


def test_a_signature_of_another_manifest_is_invalid() -> None:
    other = sign(MANIFEST + b" ", ONE)
    assert reason_of(lambda: trusting(ONE).verify(other.to_bytes(), MANIFEST)) is Reason.SIGNATURE_INVALID
    moved = Envelope(MANIFEST, other.signatures)
    assert reason_of(lambda: trusting(ONE).verify(moved.to_bytes(), MANIFEST)) is Reason.SIGNATURE_INVALID


def test_a_signature_under_another_keys_name_is_invalid() -> None:
    forged = Envelope(MANIFEST, {ONE.public.key_id: TWO.sign(signed_bytes(MANIFEST))})
    assert reason_of(lambda: trusting(ONE, TWO).verify(forged.to_bytes(), MANIFEST)) is Reason.SIGNATURE_INVALID


def test_one_good_signature_of_several_is_enough() -> None:
    envelope = sign(MANIFEST, ONE, TWO)
    assert trusting(TWO).verify(envelope.to_bytes(), MANIFEST) == TWO.public.key_id
    spoilt = Envelope(MANIFEST, {**envelope.signatures, ONE.public.key_id: bytes(64)})
    assert trusting(ONE, TWO).verify(spoilt.to_bytes(), MANIFEST) == TWO.public.key_id


@pytest.mark.parametrize("position", [0, 31, 32, 63])
def test_a_flipped_bit_is_noticed(position: int) -> None:
    good = sign(MANIFEST, ONE)
    signature = bytearray(good.signatures[ONE.public.key_id])
    signature[position] ^= 1
    bad = Envelope(MANIFEST, {ONE.public.key_id: bytes(signature)})
    assert reason_of(lambda: trusting(ONE).verify(bad.to_bytes(), MANIFEST)) is Reason.SIGNATURE_INVALID


def altered(**values: Any) -> bytes:
    return json.dumps(json.loads(sign(MANIFEST, ONE).to_bytes()) | values).encode()


SIGNATURE = {"keyid": "0" * 64, "sig": base64.b64encode(bytes(64)).decode()}


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b" " * (MAX_ENVELOPE_BYTES + 1),
        altered(payloadType="application/json"),
        altered(payload=None),
        altered(payload="?"),
        altered(payload="é"),
        sign(MANIFEST, ONE).to_bytes().replace(b"{", b'{"payload":"",', 1),
        altered(signatures=None),
        altered(signatures=[]),
        altered(signatures=[SIGNATURE, SIGNATURE]),
        altered(signatures=[SIGNATURE | {"keyid": f"{n:064x}"} for n in range(17)]),
        altered(signatures=["x"]),
        altered(signatures=[SIGNATURE | {"keyid": 1}]),
        altered(signatures=[SIGNATURE | {"sig": "AA=="}]),
        altered(signatures=[SIGNATURE | {"sig": 5}]),
    ],
    ids=lambda data: f"{data[:30]!r}-{len(data)}",
)
def test_a_malformed_envelope_is_invalid(data: bytes) -> None:
    assert reason_of(lambda: trusting(ONE).verify(data, MANIFEST)) is Reason.SIGNATURE_INVALID


@given(st.binary(min_size=1, max_size=300))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    assert reason_of(lambda: trusting(ONE).verify(data, MANIFEST)) is Reason.SIGNATURE_INVALID


def test_an_envelope_is_read_back_as_it_was() -> None:
    envelope = sign(MANIFEST, TWO, ONE)
    assert Envelope.from_bytes(envelope.to_bytes()) == envelope
    assert json.loads(envelope.to_bytes())["payloadType"] == PAYLOAD_TYPE


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing.pem"
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: make_key_file(path), range(16)))
    assert len({key.public.key_id for key in keys}) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [item.name for item in path.parent.iterdir()] == ["signing.pem"]


def test_a_key_never_shows_its_secret(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    key = make_key_file(path)
    secret = path.read_text().splitlines()[1]
    assert secret not in f"{key!r} {key} {vars(key)}"


def test_openssl_reads_our_keys_and_we_read_its(tmp_path: Path) -> None:
    ours, public, theirs = tmp_path / "ours.pem", tmp_path / "public.pem", tmp_path / "theirs.pem"
    key = make_key_file(ours)
    subprocess.run(["openssl", "pkey", "-in", ours, "-pubout", "-out", public], check=True)
    assert PublicKey.load(public).key_id == PublicKey.load(ours).key_id == key.public.key_id
    assert public.read_bytes() == key.public.to_pem()
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", theirs], check=True)
    assert SigningKey.load(theirs).public.key_id != key.public.key_id


RSA = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"]


@pytest.mark.parametrize("content", [b"", b"hello", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_told_without_its_content(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    for load in (SigningKey.load, PublicKey.load):
        with pytest.raises(DomainError) as caught:
            load(path)
        assert caught.value.reason is Reason.KEY_INVALID
        assert "AAAA" not in caught.value.message


def test_other_files_are_no_keys(tmp_path: Path) -> None:
    rsa, locked, large = tmp_path / "rsa.pem", tmp_path / "locked.pem", tmp_path / "large.pem"
    subprocess.run([*RSA, rsa], check=True, capture_output=True)
    private = Ed25519PrivateKey.generate()
    encryption = serialization.BestAvailableEncryption(b"password")
    locked.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    large.write_bytes(b"-" * 20_000)
    for path in (rsa, locked, large, tmp_path, tmp_path / "absent.pem"):
        assert reason_of(lambda path=path: SigningKey.load(path)) is Reason.KEY_INVALID  # type: ignore[misc]
        assert reason_of(lambda path=path: PublicKey.load(path)) is Reason.KEY_INVALID  # type: ignore[misc]


def advice(load: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(DomainError) as caught:
        load(path)
    return caught.value.message.partition("cannot be used: ")[2]


def test_the_advice_fits_what_is_wrong_with_a_key(tmp_path: Path) -> None:
    absent, damaged, public = tmp_path / "absent.pem", tmp_path / "damaged.pem", tmp_path / "public.pem"
    damaged.write_text("no key")
    public.write_bytes(ONE.public.to_pem())
    assert advice(PublicKey.load, absent) == "there is no such file. Check the path."
    assert advice(PublicKey.load, damaged / "absent.pem") == "there is no such file. Check the path."
    assert advice(SigningKey.load, absent).startswith(
        "there is no such file. Check the path, or make a key with `openssl"
    )
    for load in (PublicKey.load, SigningKey.load):
        assert advice(load, damaged).endswith("key in PEM form. Check the path, or restore the file from a backup.")
        assert advice(load, tmp_path) == "it is not a file. Give the path of a PEM file."
    assert advice(SigningKey.load, public).startswith("it holds a public key, which cannot sign.")


def test_the_advice_for_a_key_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def denied(*_: object) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    for load in (PublicKey.load, SigningKey.load):
        assert advice(load, tmp_path / "key.pem").startswith("it cannot be read: Permission denied. Make it readable")


def test_a_private_key_is_told_from_a_public_one(tmp_path: Path) -> None:
    (tmp_path / "public.pem").write_bytes(ONE.public.to_pem())
    make_key_file(tmp_path / "private.pem")
    assert [holds_private_key(tmp_path / f"{half}.pem") for half in ("public", "private")] == [False, True]


def test_trusted_keys_are_read_from_files_and_directories(tmp_path: Path) -> None:
    directory = tmp_path / "trusted"
    directory.mkdir()
    (directory / "one.pem").write_bytes(ONE.public.to_pem())
    (directory / "notes.txt").write_text("not a key")
    (tmp_path / "two.pem").write_bytes(TWO.public.to_pem())
    keys = TrustedKeys.load([directory, tmp_path / "two.pem"])
    assert keys.key_ids == trusting(ONE, TWO).key_ids
    assert TrustedKeys.load([]).key_ids == ()
    assert reason_of(lambda: TrustedKeys.load([tmp_path / "absent.pem"])) is Reason.KEY_INVALID


def test_of_several_signatures_those_count_that_fit_a_trusted_key() -> None:
    envelope = sign(MANIFEST, ONE, TWO, THREE)
    spoilt = {**envelope.signatures, TWO.public.key_id: bytes(64)}
    valid = trusting(ONE, TWO).valid_signatures(Envelope(MANIFEST, spoilt).to_bytes(), MANIFEST)
    assert valid == {ONE.public.key_id: envelope.signatures[ONE.public.key_id]}
