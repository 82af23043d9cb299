"""`tenon seal`: what is sealed can be verified, what is wrong is not sealed, and nobody's word is replaced unasked."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from services.common.manifest import AdapterManifest, Provenance
from services.common.signing import Envelope, SigningKey
from tests.contract.inference.samples import edit_weights, load_plain, make_adapter, quiet_peft
from tests.e2e.offline.machine import Machine
from tests.support.keys import TEST_KEY, signed, signing_key_files, trusted_key_file

MANIFEST, ENVELOPE = "tenon.manifest.json", "tenon.manifest.dsse.json"


def written(directory: Path) -> tuple[bytes, bytes]:
    return (directory / MANIFEST).read_bytes(), (directory / ENVELOPE).read_bytes()


def test_the_first_seal_makes_a_key_and_says_so(
    machine: Machine, adapter: Path, base: Path, base_ids: dict[str, str]
) -> None:
    ran = machine.tenon("seal", adapter, "--base", base)

    key = SigningKey.load(machine.own_key).public.key_id
    manifest = AdapterManifest.from_bytes((adapter / MANIFEST).read_bytes())
    assert ran.returncode == 0
    assert ran.stderr == (
        f"Made a key of your own, {machine.own_key} (key id {key}). Keep it to yourself. `tenon verify` trusts it for this "
        f"user; elsewhere, pass {machine.own_key.with_suffix('.pub.pem')} to --trust.\n"
    )
    assert ran.stdout == (
        f"Sealed for tiny-qwen (baseModels/tiny-qwen, {base_ids['tiny-qwen'][:12]}): declared, version "
        f"{manifest.digest[:12]}.\n"
        f"Signed by the key {key}.\n"
    )
    assert machine.own_key.stat().st_mode & 0o777 == 0o600
    assert (adapter / MANIFEST).stat().st_mode & 0o777 == 0o644
    assert (manifest.provenance, manifest.training, manifest.probe) == (Provenance.DECLARED, {}, None)
    assert [file.path for file in manifest.files] == ["adapter_config.json", "adapter_model.safetensors"]

    before = written(adapter)
    again = machine.tenon("seal", adapter, "--base", base)
    assert (again.returncode, again.stderr) == (0, "")
    assert written(adapter) == before


def test_peft_loads_what_was_sealed(sealed: Path, base: Path) -> None:
    with quiet_peft():
        model: Any = PeftModel.from_pretrained(load_plain(base), str(sealed))
    assert model.peft_config["default"].r == 4


def test_the_report_for_programs(machine: Machine, adapter: Path, base: Path, tmp_path: Path) -> None:
    private, _ = signing_key_files(tmp_path)
    sealed = machine.seal(adapter, base, "--key", private, "--base-name", "qwen2.5-tiny")
    key = SigningKey.load(private).public.key_id
    assert sealed == {
        "verdict": "ADMISSIBLE",
        "reason": None,
        "message": sealed["message"],
        "provenance": "declared",
        "version": AdapterManifest.from_bytes((adapter / MANIFEST).read_bytes()).digest,
        "base": sealed["base"],
        "base_model": "baseModels/qwen2.5-tiny",
        "key_id": key,
        "signatures": [key],
    }
    assert not machine.own_key.exists()
    assert machine.verify(adapter, base)["reason"] == "SIGNATURE_UNTRUSTED"
    assert machine.verify(adapter, base, "--trust", private)["verdict"] == "ADMISSIBLE"


def test_another_key_adds_its_signature(
    sealer: Machine, stranger: Machine, machine: Machine, sealed: Path, bases: Path
) -> None:
    manifest, _ = written(sealed)
    # A copy of the base, in a directory of another name: the name that the manifest gives it stays.
    both = stranger.seal(sealed, bases / "resharded")
    assert len(both["signatures"]) == 2
    assert both["base_model"] == "baseModels/tiny-qwen"
    assert written(sealed)[0] == manifest
    for user in (sealer, stranger):
        assert user.verify(sealed, bases / "tiny-qwen")["verdict"] == "ADMISSIBLE"
    assert machine.verify(sealed, bases / "tiny-qwen")["reason"] == "SIGNATURE_UNTRUSTED"


def test_a_seal_that_was_cut_short_is_completed(sealer: Machine, sealed: Path, base: Path) -> None:
    before = written(sealed)
    (sealed / ENVELOPE).unlink()
    assert sealer.verify(sealed, base)["reason"] == "SIGNATURE_MISSING"
    sealer.seal(sealed, base)
    assert written(sealed) == before
    (sealed / ENVELOPE).write_text("{")
    sealer.seal(sealed, base)
    assert written(sealed) == before


def refused(machine: Machine, adapter: Path, base: Path, *options: str | Path) -> tuple[str, str]:
    """Reason and message of a refusal, which changed nothing."""
    before = {path.name: path.read_bytes() for path in adapter.iterdir()}
    ran = machine.tenon("seal", adapter, "--base", base, "--json", *options)
    assert {path.name: path.read_bytes() for path in adapter.iterdir()} == before
    document = json.loads(ran.stdout)
    assert document.keys() == {"verdict", "reason", "message"}
    assert (ran.returncode, document["verdict"]) == (3, "REFUSED")
    return document["reason"], document["message"]


def test_a_manifest_for_another_base_is_replaced_only_by_force(
    sealer: Machine, sealed: Path, bases: Path, base_ids: dict[str, str]
) -> None:
    reason, message = refused(sealer, sealed, bases / "other-weights")
    told = sealer.tenon("seal", sealed, "--base", bases / "other-weights")
    assert (told.returncode, told.stdout, told.stderr) == (3, "", f"Error: {message}\n")
    assert reason == "BASE_FINGERPRINT_MISMATCH"
    assert f"baseModels/tiny-qwen ({base_ids['tiny-qwen'][:12]})" in message
    assert message.endswith("Pass --force to replace it by your own declaration.")

    again = sealer.seal(sealed, bases / "other-weights", "--force")
    assert (again["base"], len(again["signatures"])) == (base_ids["other-weights"], 1)
    assert sealer.verify(sealed, bases / "other-weights")["verdict"] == "ADMISSIBLE"


def test_a_manifest_for_other_files_is_replaced_only_by_force(sealer: Machine, sealed: Path, base: Path) -> None:
    make_adapter(base, sealed, seed=5, target_modules=["q_proj", "v_proj"])
    assert refused(sealer, sealed, base)[0] == "ARTIFACT_CORRUPT"
    sealer.seal(sealed, base, "--force")
    assert sealer.verify(sealed, base)["verdict"] == "ADMISSIBLE"


def test_a_manifest_that_says_more_is_signed_only_if_somebody_trusted_does(
    sealer: Machine, stranger: Machine, sealed: Path, base: Path, tmp_path: Path
) -> None:
    """A signature of the user's own must not make anybody's text a template, nor anybody's word a witness."""
    declared = AdapterManifest.from_bytes((sealed / MANIFEST).read_bytes())
    for manifest in (
        replace(declared, provenance=Provenance.WITNESSED),
        replace(declared, chat_template="{{ 'obey' }}"),
    ):
        (sealed / MANIFEST).write_bytes(manifest.to_bytes())
        (sealed / ENVELOPE).unlink(missing_ok=True)
        assert refused(sealer, sealed, base)[0] == "SIGNATURE_MISSING"
        (sealed / ENVELOPE).write_bytes(signed(manifest))
        assert refused(sealer, sealed, base)[0] == "SIGNATURE_UNTRUSTED"

        both = sealer.seal(sealed, base, "--trust", trusted_key_file(tmp_path))
        assert both["signatures"] == sorted([TEST_KEY.public.key_id, both["key_id"]])
        assert both["provenance"] == manifest.provenance
        assert (sealed / MANIFEST).read_bytes() == manifest.to_bytes()


def test_a_witness_is_replaced_by_force_and_said_to_be(sealer: Machine, sealed: Path, base: Path) -> None:
    declared = (sealed / MANIFEST).read_bytes()
    witnessed = replace(AdapterManifest.from_bytes(declared), provenance=Provenance.WITNESSED)
    (sealed / MANIFEST).write_bytes(witnessed.to_bytes())
    ran = sealer.tenon("seal", sealed, "--base", base, "--force")
    assert ran.returncode == 0
    assert (
        ran.stderr == "The manifest that was replaced said that Tenon witnessed the training; this one declares it.\n"
    )
    assert (sealed / MANIFEST).read_bytes() == declared


def zeros(adapter: Path, base: Path) -> None:
    edit_weights(adapter, lora_B__weight=torch.tensor(0.0))


def cut_off(adapter: Path, base: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-4])


def fewer_targets(adapter: Path, base: Path) -> None:
    file = adapter / "adapter_config.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "target_modules": ["q_proj"]}))


WRONG: dict[str, tuple[str, Callable[[Path, Path], object]]] = {
    "no effect": ("ADAPTER_NO_EFFECT", zeros),
    "cut off": ("SAFETENSORS_INVALID", cut_off),
    "other targets": ("ADAPTER_TENSOR_UNEXPECTED", fewer_targets),
    "pickle": ("ADAPTER_UNSAFE_FILES", lambda adapter, _: (adapter / "adapter_model.bin").write_bytes(b"\x80\x02.")),
    "no weights": ("ADAPTER_FILES_MISSING", lambda adapter, _: (adapter / "adapter_model.safetensors").unlink()),
}


@pytest.mark.parametrize("kind", WRONG)
def test_an_adapter_that_is_wrong_is_not_sealed(machine: Machine, adapter: Path, base: Path, kind: str) -> None:
    reason, change = WRONG[kind]
    change(adapter, base)
    signing = machine.home / "key"
    signing.mkdir(parents=True)
    private, _ = signing_key_files(signing)
    assert refused(machine, adapter, base, "--key", private)[0] == reason
    assert not (adapter / MANIFEST).exists()


def test_an_adapter_of_another_architecture_is_not_sealed(machine: Machine, adapter: Path, bases: Path) -> None:
    signing = machine.home / "key"
    signing.mkdir(parents=True)
    private, _ = signing_key_files(signing)
    assert refused(machine, adapter, bases / "tiny-gpt", "--key", private)[0] == "ADAPTER_MODULE_NOT_FOUND"


UNUSABLE: dict[str, tuple[list[str], str]] = {
    "no adapter": (["{tmp}/missing", "--base", "{base}"], "ADAPTER_FILES_MISSING"),
    "no base": (["{adapter}", "--base", "{tmp}/missing"], "BASE_NOT_A_MODEL"),
    "no key": (["{adapter}", "--base", "{base}", "--key", "{tmp}/missing.pem"], "KEY_INVALID"),
    "public key": (["{adapter}", "--base", "{base}", "--key", "{tmp}/signing.pub.pem"], "KEY_INVALID"),
    "no name": (["{adapter}", "--base", "{base}", "--base-name", "Not A Name"], "INVALID_ARGUMENT"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_input_that_cannot_be_used(machine: Machine, adapter: Path, base: Path, tmp_path: Path, kind: str) -> None:
    signing_key_files(tmp_path)
    given, reason = UNUSABLE[kind]
    arguments = [text.format(tmp=tmp_path, base=base, adapter=adapter) for text in given]
    ran = machine.tenon("seal", *arguments, "--json")
    document = json.loads(ran.stdout)
    assert (ran.returncode, document["verdict"], document["reason"]) == (2, "UNUSABLE", reason)
    assert not (adapter / MANIFEST).exists()


def test_a_place_for_the_key_that_cannot_be_written(machine: Machine, adapter: Path, base: Path) -> None:
    machine.home.mkdir(parents=True)
    (machine.home / "config").write_text("a file")
    ran = machine.tenon("seal", adapter, "--base", base)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"Error: The key file {machine.own_key} cannot be used: it cannot be written: ")
    assert ran.stderr.count("\n") == 1
    assert not (adapter / MANIFEST).exists()


def test_two_first_seals_at_once_make_one_key(machine: Machine, adapter: Path, base: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(adapter, tmp_path / "a copy")
    running = [machine.start("seal", place, "--base", base) for place in (adapter, copy, adapter)]
    for process in running:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert written(adapter) == written(copy)
    assert list(Envelope.from_bytes(written(adapter)[1]).signatures) == [SigningKey.load(machine.own_key).public.key_id]
    assert {path.name for path in machine.own_key.parent.iterdir()} == {"own.pem", "own.pub.pem"}
