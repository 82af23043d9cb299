"""Adapters in and out, over REST and by the command line."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from services.common.manifest import AdapterManifest
from tests.e2e.gateway.stack import Stack
from tests.support.keys import STRANGERS_KEY, TEST_KEY, TEST_TRUST
from tests.support.suite import environment, tenon
from tests.unit.admission.build import put_manifest
from tests.unit.admission.peft_adapters import save_adapter

NAMES = ("adapter_config.json", "adapter_model.safetensors", "tenon.manifest.dsse.json", "tenon.manifest.json")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def made_by_peft(stack: Stack, gateway_root: Path) -> Path:
    """An adapter of tiny-qwen with what trainers leave beside it."""
    directory = gateway_root / "made by PEFT"
    save_adapter(gateway_root / "tiny-qwen", directory, {"target_modules": ["q_proj", "v_proj"]})
    (directory / "training_args.bin").write_bytes(b"\x80\x04.")
    (directory / "checkpoint-1").mkdir()
    return directory


@pytest.fixture
def peft_directory(made_by_peft: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made_by_peft, tmp_path / "Peft Made")


@pytest.fixture
def run(stack: Stack, tmp_path: Path) -> Run:
    def go(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        return tenon(*arguments, env=environment(TENON_URL=stack.url, TENON_API_KEY=stack.key or ""), cwd=tmp_path)

    return go


def form(directory: Path, *names: str) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", (name, (directory / name).read_bytes())) for name in names]


def send(http: httpx2.Client, name: str, directory: Path, base: str = "tiny-qwen") -> httpx2.Response:
    return http.post(f"/v1/adapters/{name}/versions", data={"base_model": base}, files=form(directory, *NAMES[:2]))


def test_an_adapter_goes_in_by_a_form_and_its_files_come_out(http: httpx2.Client, peft_directory: Path) -> None:
    answer = send(http, "by-form", peft_directory)
    assert answer.status_code == 200, answer.text
    version = answer.json()
    assert (version["adapter"], version["state"], version["provenance"]) == ("by-form", "ready", "declared")
    assert send(http, "by-form", peft_directory).json() == version
    for name in NAMES:
        got = http.get(f"/v1/adapters/by-form/versions/{version['id']}/files/{name}")
        assert got.status_code == 200
        assert got.headers["content-length"] == str(len(got.content))
        assert got.headers["etag"] == f'"{hashlib.sha256(got.content).hexdigest()}"'
        assert got.headers["content-disposition"] == f"attachment; filename*=UTF-8''{name}"
        if name in NAMES[:2]:
            assert got.content == (peft_directory / name).read_bytes()
        else:
            assert b"tiny-qwen" in got.content or b"payload" in got.content


def test_a_large_adapter_passes_through(http: httpx2.Client, stack: Stack, peft_directory: Path) -> None:
    # Refused at its end, once all of it has passed: it is no safetensors file.
    (peft_directory / NAMES[1]).write_bytes(b"\xff" * 60_000_000)
    answer = send(http, "large", peft_directory)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "safetensors_invalid")
    status = Path(f"/proc/{stack.processes['gateway'].pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    assert int(peak.split()[1]) < 150 * 1024
    assert http.get("/v1/adapters/large").status_code == 404


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("by-nobody/versions/{digest}/files/adapter_config.json", 404, "adapter_not_found"),
        ("{name}/versions/{digest}/files/README.md", 404, "artifact_not_found"),
        ("{name}/versions/{digest}/files/..%2f..%2fx", 404, None),
        ("{name}/versions/latest/files/adapter_config.json", 400, "invalid_argument"),
        ("{name}/versions/" + "0" * 64 + "/files/adapter_config.json", 404, "adapter_version_not_found"),
    ],
    ids=["adapter", "file", "path", "version", "digest"],
)
def test_what_is_not_there_is_not_found(
    http: httpx2.Client, peft_directory: Path, path: str, status: int, code: str | None
) -> None:
    digest = send(http, "lookup", peft_directory).json()["id"]
    answer = http.get("/v1/adapters/" + path.format(name="lookup", digest=digest))
    assert answer.status_code == status
    assert code is None or answer.json()["error"]["code"] == code


def test_a_refusal_has_its_own_code_and_sentence(http: httpx2.Client, peft_directory: Path) -> None:
    answer = send(http, "refused", peft_directory, "tiny-gpt")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "adapter_module_not_found")
    assert send(http, "refused", peft_directory, "nobody").json()["error"]["code"] == "base_model_not_found"
    assert send(http, "No Slug", peft_directory).status_code == 400
    assert http.get("/v1/adapters/refused").status_code == 404


def test_without_a_form_nothing_is_taken(http: httpx2.Client) -> None:
    answer = http.post("/v1/adapters/x/versions", json={"base_model": "tiny-qwen"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_argument")


def test_the_command_line_takes_in_what_peft_wrote_and_it_answers(run: Run, peft_directory: Path) -> None:
    ran = run("adapter", "import", peft_directory, "--base", "tiny-qwen")
    assert ran.returncode == 0, ran.stderr
    assert "peft-made: version " in ran.stdout
    assert "declared" in ran.stdout
    assert ran.stdout.endswith("peft-made answers with it now.\nTry it: tenon chat peft-made\n")
    answers = {}
    for model in ("tiny-qwen", "peft-made"):
        chat = run("chat", model, "-m", "Say 3", "--max-tokens", "12", "--temperature", "0", "--json")
        assert chat.returncode == 0, chat.stderr
        answers[model] = json.loads(chat.stdout)["choices"][0]["message"]["content"]
    assert answers["peft-made"] != answers["tiny-qwen"]


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_what_was_trained_goes_out_as_peft_loads_it_and_comes_back_as_it_was(
    run: Run, job_id: str, gateway_root: Path, tmp_path: Path
) -> None:
    assert job_id
    ran = run("adapter", "export", "parrot", "--json")
    assert ran.returncode == 0, ran.stderr
    written, out = json.loads(ran.stdout), tmp_path / "parrot"
    assert written["directory"] == str(out)
    assert {path.name for path in out.iterdir()} == set(NAMES) == set(written["files"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parrot"]
    manifest = (out / "tenon.manifest.json").read_bytes()
    assert hashlib.sha256(manifest).hexdigest() == written["version"]
    assert TEST_TRUST.verify((out / "tenon.manifest.dsse.json").read_bytes(), manifest) == TEST_KEY.public.key_id

    probe = AdapterManifest.from_bytes(manifest).probe
    assert probe is not None
    base = AutoModelForCausalLM.from_pretrained(gateway_root / "tiny-qwen", dtype=torch.float32)
    with torch.no_grad():
        model = PeftModel.from_pretrained(base, str(out)).eval()
        logits = model(input_ids=torch.tensor([probe.prompt_token_ids])).logits[0, -1]
    assert logits[list(probe.token_ids)].tolist() == pytest.approx(probe.adapter_logits, abs=1e-4)

    ran = run("adapter", "import", out, "--base", "tiny-qwen", "--name", "parrot-again", "--json")
    assert ran.returncode == 0, ran.stderr
    again = json.loads(ran.stdout)
    assert (again["id"], again["provenance"]) == (written["version"], "witnessed")

    ran = run(
        "adapter", "import", out, "--base", "tiny-qwen", "--name", "parrot-declared", "--ignore-manifest", "--json"
    )
    declared = json.loads(ran.stdout)
    assert declared["provenance"] == "declared"
    assert declared["id"] != again["id"]


def test_a_version_goes_out_by_its_digest_or_an_alias(run: Run, http: httpx2.Client, peft_directory: Path) -> None:
    old = send(http, "two", peft_directory).json()["id"]
    (peft_directory / "chat_template.jinja").write_text("{{ messages }}")
    new = json.loads(run("adapter", "import", peft_directory, "--base", "tiny-qwen", "--name", "two", "--json").stdout)
    assert new["id"] != old
    assert http.put("/v1/adapters/two/aliases/stable", json={"version": old}).status_code == 200
    for reference, digest in ((old, old), (old[:10], old), ("stable", old), ("latest", new["id"])):
        ran = run("adapter", "export", "two", f"out-{reference[:6]}-{len(reference)}", "--version", reference, "--json")
        assert json.loads(ran.stdout)["version"] == digest, ran.stderr


def without(name: str) -> Callable[[Path], object]:
    return lambda directory: (directory / name).unlink()


def replaced(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda directory: (directory / name).write_bytes(content)


def emptied(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.mkdir()


def linked(directory: Path) -> None:
    outside = directory.rename(directory.with_name("outside"))
    shutil.copytree(outside, directory)
    (directory / NAMES[1]).unlink()
    (directory / NAMES[1]).symlink_to(outside / NAMES[1])


BAD: dict[str, tuple[Callable[[Path], object], str, int, str]] = {
    "a pickle": (replaced("adapter_model.bin", b"\x80\x04."), "tiny-qwen", 3, "adapter_model.bin"),
    "no weights": (without(NAMES[1]), "tiny-qwen", 3, "adapter_model.safetensors"),
    "cut off": (replaced(NAMES[1], b"\x08"), "tiny-qwen", 3, "adapter_model.safetensors"),
    "a link": (linked, "tiny-qwen", 3, "leads out"),
    "a manifest that is none": (replaced(NAMES[3], b"{}"), "tiny-qwen", 3, "manifest"),
    "another base": (lambda _: None, "tiny-gpt", 3, "q_proj"),
    "no such base": (lambda _: None, "nobody", 4, "nobody"),
    "no base's name": (lambda _: None, "../x", 2, "not a valid id"),
    "nothing there": (emptied, "tiny-qwen", 2, "no adapter"),
    "no directory": (shutil.rmtree, "tiny-qwen", 2, "cannot be listed"),
}


@pytest.mark.parametrize(("spoil", "base", "status", "words"), BAD.values(), ids=BAD.keys())
def test_a_refusal_has_its_exit_status(
    run: Run,
    http: httpx2.Client,
    peft_directory: Path,
    spoil: Callable[[Path], object],
    base: str,
    status: int,
    words: str,
) -> None:
    spoil(peft_directory)
    ran = run("adapter", "import", peft_directory, "--base", base, "--name", "unwanted")
    assert (ran.returncode, ran.stdout) == (status, ""), ran.stderr
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr
    assert http.get("/v1/adapters/unwanted").status_code == 404


def test_a_manifest_signed_by_a_stranger_is_refused(run: Run, job_id: str, tmp_path: Path) -> None:
    assert job_id
    assert run("adapter", "export", "parrot", "strange").returncode == 0
    manifest = AdapterManifest.from_bytes((tmp_path / "strange" / NAMES[3]).read_bytes())
    put_manifest(tmp_path / "strange", manifest, STRANGERS_KEY)
    ran = run("adapter", "import", "strange", "--base", "tiny-qwen")
    assert ran.returncode == 3
    assert "not trusted here" in ran.stderr
    assert "with --ignore-manifest, or put the signer's public key into DIR/keys/trusted of the suite" in ran.stderr


def test_an_export_writes_all_or_nothing(
    run: Run, http: httpx2.Client, stack: Stack, peft_directory: Path, tmp_path: Path
) -> None:
    (peft_directory / "adapter_config.json").write_text(
        json.dumps({**json.loads((peft_directory / "adapter_config.json").read_text()), "revision": "all or nothing"})
    )
    version = send(http, "torn", peft_directory).json()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.iterdir())
    for target, status in (("full", 2), ("file", 2), ("no/where", 2)):
        assert run("adapter", "export", "torn", target).returncode == status
    assert run("adapter", "export", "nobody", "out").returncode == 4
    assert run("adapter", "export", "torn", "out", "--version", "0" * 64).returncode == 4
    assert run("adapter", "export", "torn", "out", "--version", "stable").returncode == 2
    sha256 = next(f["sha256"] for f in version["files"] if f["path"] == "adapter_config.json")
    blob = stack.root / "artifacts/projects/default/blobs/sha256" / sha256[:2] / sha256
    content = blob.read_bytes()
    blob.chmod(0o600)
    blob.write_bytes(content[::-1])
    assert run("adapter", "export", "torn", "out").returncode == 1
    assert sorted(tmp_path.iterdir()) == before
    blob.write_bytes(content)
    assert run("adapter", "export", "torn", "empty").returncode == 0
    assert {path.name for path in (tmp_path / "empty").iterdir()} == set(NAMES)
    assert (tmp_path / "empty").stat().st_mode & 0o777 == (tmp_path / "full").stat().st_mode & 0o777
