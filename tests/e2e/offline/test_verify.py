"""`tenon verify`: right pairs pass, wrong ones are refused in words that help, and everything has its exit status."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from services.common.manifest import AdapterManifest, Provenance
from services.common.probe import Probe
from services.common.signing import SigningKey
from tests.e2e.offline.machine import Machine
from tests.support.keys import STRANGERS_KEY, TEST_KEY, signed, trusted_key_file

MANIFEST, ENVELOPE = "tenon.manifest.json", "tenon.manifest.dsse.json"


def test_an_adapter_without_a_manifest_is_refused(machine: Machine, adapter: Path, base: Path) -> None:
    report = machine.verify(adapter, base)
    assert (report["reason"], report["provenance"]) == ("MANIFEST_MISSING", "undeclared")
    assert (report["version"], report["base"]) == (None, None)

    ran = machine.tenon("verify", adapter, "--base", base)
    assert (ran.returncode, ran.stderr) == (3, "")
    assert ran.stdout == (
        "ok      files      4608 bytes of weights, no pickles\n"
        "FAILED  manifest\n"
        "–       signature\n"
        "–       base\n"
        "–       config\n"
        "–       header\n"
        "–       tensors\n"
        "–       digest\n"
        "–       values\n"
        "–       effect\n"
        "–       probe\n"
        "\n"
        "REFUSED (MANIFEST_MISSING)\n"
        f"{adapter} has no tenon.manifest.json, so nobody says which base the adapter was trained on. Get its manifest, "
        "make one with `tenon seal` if you know the base, or pass --allow-undeclared to check what can be checked "
        "without.\n"
    )


def test_everything_else_decides_where_that_is_allowed(
    machine: Machine, adapter: Path, bases: Path, base_ids: dict[str, str]
) -> None:
    report = machine.verify(adapter, bases / "tiny-qwen", "--allow-undeclared")
    assert (report["verdict"], report["provenance"]) == ("ADMISSIBLE", "undeclared")
    assert (report["version"], report["base"]) == (None, base_ids["tiny-qwen"])

    wrong = machine.verify(adapter, bases / "tiny-gpt", "--allow-undeclared")
    assert (wrong["verdict"], wrong["reason"]) == ("REFUSED", "ADAPTER_MODULE_NOT_FOUND")


@pytest.mark.parametrize("kind", ["same", "resharded", "renamed", "linked"])
def test_the_base_it_was_trained_on(
    sealer: Machine, sealed: Path, bases: Path, base_ids: dict[str, str], tmp_path: Path, kind: str
) -> None:
    place = bases / "tiny-qwen"
    if kind == "resharded":
        place = bases / "resharded"
    elif kind == "renamed":
        place = shutil.copytree(place, tmp_path / "somewhere else/ein Modell, 模型")
    elif kind == "linked":
        (tmp_path / "link").symlink_to(place)
        (tmp_path / "adapter").symlink_to(sealed)
        place, sealed = tmp_path / "link", tmp_path / "adapter"

    report = sealer.verify(sealed, place)

    assert (report["verdict"], report["provenance"]) == ("ADMISSIBLE", "declared")
    assert report["base"] == base_ids["tiny-qwen"]
    assert report["version"] == AdapterManifest.from_bytes((sealed / MANIFEST).read_bytes()).digest
    assert [check["outcome"] for check in report["checks"]] == ["pass"] * 10 + ["skipped"]


def test_what_people_read_of_the_right_base(
    sealer: Machine, sealed: Path, base: Path, base_ids: dict[str, str]
) -> None:
    ran = sealer.tenon("verify", sealed, "--base", base)

    version = AdapterManifest.from_bytes((sealed / MANIFEST).read_bytes()).digest
    key = SigningKey.load(sealer.own_key).public.key_id
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == (
        "ok      files      4608 bytes of weights, no pickles\n"
        f"ok      manifest   version {version[:12]}, declared\n"
        f"ok      signature  by the key {key[:12]}\n"
        f"ok      base       Qwen2ForCausalLM {base_ids['tiny-qwen'][:12]}\n"
        "ok      config     LoRA of rank 4\n"
        "ok      header     8 tensors\n"
        "ok      tensors    8 tensors for 4 modules\n"
        "ok      digest     2 files\n"
        "ok      values     all finite\n"
        "ok      effect     not zero\n"
        "–       probe      the base would have to be loaded\n"
        "\n"
        "ADMISSIBLE\n"
        "The adapter may be served on tiny-qwen, the base it was trained on (declared, by the key "
        f"{key[:12]}).\n"
    )


WRONG = {
    "other-weights": ["WEIGHTS_DIFFER"],
    "other-tokenizer": ["TOKENIZER_DIFFERS"],
    "other-context": ["CONFIG_DIFFERS"],
    "tiny-gpt": ["ARCHITECTURE_DIFFERS", "STRUCTURE_DIFFERS", "CONFIG_DIFFERS"],
}


@pytest.mark.parametrize("name", WRONG)
def test_another_base(sealer: Machine, sealed: Path, bases: Path, base_ids: dict[str, str], name: str) -> None:
    report = sealer.verify(sealed, bases / name)
    assert (report["verdict"], report["reason"]) == ("REFUSED", "BASE_FINGERPRINT_MISMATCH")
    assert (report["provenance"], report["base"]) == ("declared", base_ids[name])
    kinds = [difference["kind"] for difference in report["differences"]]
    assert list(dict.fromkeys(kinds)) == WRONG[name]


def refusal(sealer: Machine, sealed: Path, base: Path) -> str:
    ran = sealer.tenon("verify", sealed, "--base", base)
    assert (ran.returncode, ran.stderr) == (3, "")
    return ran.stdout.partition("\n\n")[2]


def test_the_refusal_of_other_weights(sealer: Machine, sealed: Path, bases: Path, base_ids: dict[str, str]) -> None:
    roots = AdapterManifest.from_bytes((sealed / MANIFEST).read_bytes()).base["component_roots"]
    found = sealer.verify(sealed, bases / "other-weights")["differences"][0]["actual"]
    assert refusal(sealer, sealed, bases / "other-weights") == (
        "REFUSED (BASE_FINGERPRINT_MISMATCH)\n"
        f"The adapter was trained on baseModels/tiny-qwen ({base_ids['tiny-qwen'][:12]}); this base is other-weights "
        f"({base_ids['other-weights'][:12]}).\n"
        "They have the same shape, but other weights:\n"
        f"  language_model: trained on {roots['language_model'][:12]}, here {found}\n"
        "Serve the adapter on baseModels/tiny-qwen, or train it again on other-weights; or download baseModels/tiny-qwen "
        "again if other-weights was meant to be a copy of it.\n"
    )


def test_the_refusal_of_another_configuration(
    sealer: Machine, sealed: Path, bases: Path, base_ids: dict[str, str]
) -> None:
    assert refusal(sealer, sealed, bases / "other-context") == (
        "REFUSED (BASE_FINGERPRINT_MISMATCH)\n"
        f"The adapter was trained on baseModels/tiny-qwen ({base_ids['tiny-qwen'][:12]}); this base is other-context "
        f"({base_ids['other-context'][:12]}).\n"
        "Their configurations differ:\n"
        "  max_position_embeddings: trained on 512, here 256\n"
        "Serve the adapter on baseModels/tiny-qwen, or train it again on other-context; or declare other-context derived "
        "from baseModels/tiny-qwen if it is the same model.\n"
    )


def test_the_refusal_of_another_tokenizer(sealer: Machine, sealed: Path, bases: Path, base_ids: dict[str, str]) -> None:
    trained_on = AdapterManifest.from_bytes((sealed / MANIFEST).read_bytes()).base["tokenizer_digest"]
    found = sealer.verify(sealed, bases / "other-tokenizer")["differences"][0]["actual"]
    assert refusal(sealer, sealed, bases / "other-tokenizer") == (
        "REFUSED (BASE_FINGERPRINT_MISMATCH)\n"
        f"The adapter was trained on baseModels/tiny-qwen ({base_ids['tiny-qwen'][:12]}); this base is other-tokenizer "
        f"({base_ids['other-tokenizer'][:12]}).\n"
        "Their tokenizers differ, so the same text would become other tokens:\n"
        f"  tokenizer: trained on {trained_on[:12]}, here {found}\n"
        "Serve the adapter on baseModels/tiny-qwen, or train it again on other-tokenizer; or restore the tokenizer files "
        "of baseModels/tiny-qwen.\n"
    )


def flip_last_byte(directory: Path) -> None:
    file = directory / "adapter_model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def edit_config(directory: Path) -> None:
    file = directory / "adapter_config.json"
    file.write_text(file.read_text().replace('"r": 4', '"r": 8'))


def sign_by_another(directory: Path) -> None:
    manifest = AdapterManifest.from_bytes((directory / MANIFEST).read_bytes())
    (directory / ENVELOPE).write_bytes(signed(manifest, STRANGERS_KEY))


WRONGED: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "weights changed": ("digest", "ARTIFACT_CORRUPT", flip_last_byte),
    "configuration changed": ("config", "ARTIFACT_CORRUPT", edit_config),
    "manifest changed": ("signature", "SIGNATURE_INVALID", lambda d: rewritten(d, "baseModels/another")),
    "manifest broken": ("manifest", "MANIFEST_INVALID", lambda d: (d / MANIFEST).write_text("{}")),
    "signature gone": ("signature", "SIGNATURE_MISSING", lambda d: (d / ENVELOPE).unlink()),
    "signature broken": ("signature", "SIGNATURE_INVALID", lambda d: (d / ENVELOPE).write_text("{}")),
    "signed by another": ("signature", "SIGNATURE_UNTRUSTED", sign_by_another),
    "weights gone": ("files", "ADAPTER_FILES_MISSING", lambda d: (d / "adapter_model.safetensors").unlink()),
    "pickle": ("files", "ADAPTER_UNSAFE_FILES", lambda d: (d / "adapter_model.bin").write_bytes(b"\x80\x02.")),
}


def rewritten(directory: Path, base_model: str) -> None:
    data = (directory / MANIFEST).read_bytes()
    (directory / MANIFEST).write_bytes(data.replace(b"baseModels/tiny-qwen", base_model.encode()))


@pytest.mark.parametrize("kind", WRONGED)
def test_an_adapter_that_is_not_what_was_sealed(sealer: Machine, sealed: Path, base: Path, kind: str) -> None:
    check, reason, change = WRONGED[kind]
    change(sealed)
    report = sealer.verify(sealed, base)
    assert (report["verdict"], report["reason"]) == ("REFUSED", reason)
    assert [found["name"] for found in report["checks"] if found["outcome"] == "fail"] == [check]
    assert report["provenance"] == (None if check == "files" else "undeclared" if check == "manifest" else "declared")


def test_a_key_of_another_user_is_trusted_where_it_is_named(
    sealer: Machine, stranger: Machine, sealed: Path, base: Path, tmp_path: Path
) -> None:
    assert stranger.verify(sealed, base)["reason"] == "SIGNATURE_UNTRUSTED"
    key = SigningKey.load(sealer.own_key)
    keys = tmp_path / "keys of others"
    keys.mkdir()
    (keys / "theirs.pem").write_bytes(key.public.to_pem())
    (keys / "notes.txt").write_text("no key")
    for trust in (keys / "theirs.pem", keys, sealer.own_key):
        assert stranger.verify(sealed, base, "--trust", trust)["verdict"] == "ADMISSIBLE"
    other = trusted_key_file(tmp_path)
    assert stranger.verify(sealed, base, "--trust", other)["reason"] == "SIGNATURE_UNTRUSTED"
    assert stranger.verify(sealed, base, "--trust", other, "--trust", keys)["verdict"] == "ADMISSIBLE"
    assert not stranger.own_key.exists(), "verifying made a key"


def test_the_keys_of_the_suite_on_this_machine_are_trusted(
    machine: Machine, sealed: Path, base: Path, tmp_path: Path
) -> None:
    """As exported: witnessed, and signed by the suite."""
    declared = AdapterManifest.from_bytes((sealed / MANIFEST).read_bytes())
    witnessed = replace(declared, provenance=Provenance.WITNESSED, probe=Probe((1,), (2,), (0.5,), (1.5,)))
    (sealed / MANIFEST).write_bytes(witnessed.to_bytes())
    (sealed / ENVELOPE).write_bytes(signed(witnessed))
    assert machine.verify(sealed, base)["reason"] == "SIGNATURE_UNTRUSTED"

    for data in (tmp_path / "data dir", machine.home / "data" / "tenon"):
        keys = data / "keys" / "trusted"
        keys.mkdir(parents=True)
        (keys / "suite.pem").write_bytes(TEST_KEY.public.to_pem())
        place = ["--data-dir", str(data)] if data.name == "data dir" else []
        ran = machine.tenon(*place, "verify", sealed, "--base", base, "--json")
        assert ran.returncode == 0, ran.stdout
        assert json.loads(ran.stdout)["provenance"] == "witnessed"


UNUSABLE: dict[str, tuple[str, str, str]] = {
    "no adapter directory": ("{tmp}/missing", "{base}", "ADAPTER_FILES_MISSING"),
    "empty adapter directory": ("{tmp}/empty", "{base}", "ADAPTER_FILES_MISSING"),
    "a file as adapter": ("{tmp}/file", "{base}", "ADAPTER_FILES_MISSING"),
    "a base as adapter": ("{base}", "{base}", "ADAPTER_FILES_MISSING"),
    "no base directory": ("{adapter}", "{tmp}/missing", "BASE_NOT_A_MODEL"),
    "empty base directory": ("{adapter}", "{tmp}/empty", "BASE_NOT_A_MODEL"),
    "a file as base": ("{adapter}", "{tmp}/file", "BASE_NOT_A_MODEL"),
    "an adapter as base": ("{adapter}", "{adapter}", "BASE_NOT_A_MODEL"),
    "base cut off": ("{adapter}", "{tmp}/cut off", "SAFETENSORS_INVALID"),
}


@pytest.fixture
def odd(tmp_path: Path, base: Path) -> Path:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    weights = shutil.copytree(base, tmp_path / "cut off") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    return tmp_path


@pytest.mark.parametrize("kind", UNUSABLE)
def test_input_that_cannot_be_used(machine: Machine, adapter: Path, base: Path, odd: Path, kind: str) -> None:
    one, other, reason = UNUSABLE[kind]
    given, on = (Path(text.format(tmp=odd, base=base, adapter=adapter)) for text in (one, other))
    report = machine.verify(given, on)
    assert (report["verdict"], report["reason"], report["provenance"]) == ("UNUSABLE", reason, None)
    assert report["message"].endswith(".")
    looks = {"a base as adapter": "looks like a base model", "an adapter as base": "looks like an adapter"}
    assert looks.get(kind, "") in report["message"]


def test_what_people_read_of_input_that_cannot_be_used(machine: Machine, adapter: Path, tmp_path: Path) -> None:
    ran = machine.tenon("verify", adapter, "--base", tmp_path / "missing")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        f"Error: {tmp_path / 'missing'} is not a base model: it cannot be listed: No such file or directory. Give a "
        "directory with config.json, tokenizer.json and model.safetensors (or its shards and their index).\n"
    )


@pytest.mark.parametrize("kind", ["missing", "no key", "own key broken"])
def test_keys_that_cannot_be_used(machine: Machine, adapter: Path, base: Path, tmp_path: Path, kind: str) -> None:
    trust = tmp_path / "key.pem"
    if kind == "no key":
        trust.write_text("x")
    if kind == "own key broken":
        machine.own_key.parent.mkdir(parents=True)
        machine.own_key.write_text("x")
        trust = trusted_key_file(tmp_path)
    report = machine.verify(adapter, base, "--trust", trust)
    assert (report["verdict"], report["reason"]) == ("UNUSABLE", "KEY_INVALID")
    assert (machine.own_key.name if kind == "own key broken" else "key.pem") in report["message"]


def test_an_adapter_on_a_read_only_disk_can_be_verified(sealer: Machine, sealed: Path, base: Path) -> None:
    for path in (*sealed.iterdir(), sealed):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(path.name for path in sealed.iterdir())
    assert sealer.verify(sealed, base)["verdict"] == "ADMISSIBLE"
    assert sorted(path.name for path in sealed.iterdir()) == before
    sealed.chmod(0o755)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_reader_that_goes_away_is_no_crash(machine: Machine, adapter: Path, base: Path, options: list[str]) -> None:
    process = machine.start("verify", adapter, "--base", base, *options)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 3, "the verdict counts, read or not"
    process.stderr.close()


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_disk_that_is_full_is_told(machine: Machine, adapter: Path, base: Path, options: list[str]) -> None:
    command = [sys.executable, "-m", "cli", "verify", str(adapter), "--base", str(base), *options]
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=machine.settings(), check=False
        )
    assert (ran.returncode, ran.stderr) == (1, "Error: The output cannot be written: No space left on device.\n")


def test_skipped_checks_say_why_though_a_later_one_fails(machine: Machine, adapter: Path, bases: Path) -> None:
    ran = machine.tenon("verify", adapter, "--base", bases / "tiny-gpt", "--allow-undeclared")
    assert ran.returncode == 3
    assert "–       manifest   there is none; the rest decides\n" in ran.stdout
    assert "FAILED  tensors\n–       digest\n" in ran.stdout
    passed = machine.tenon("verify", adapter, "--base", bases / "tiny-qwen", "--allow-undeclared")
    assert "–       digest     no manifest to compare with\n" in passed.stdout


def test_a_terminal_that_lacks_a_character(machine: Machine, adapter: Path, base: Path) -> None:
    ran = machine.tenon("verify", adapter, "--base", base, PYTHONIOENCODING="latin-1")
    assert ran.returncode == 3
    assert "\\u2013       signature" in ran.stdout
