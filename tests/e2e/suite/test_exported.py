"""What the suite trained, outside of it: `tenon adapter export`, then the commands that need no suite."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.suite import RunningSuite, environment, tenon


@pytest.fixture
def user(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has no keys and no cache yet."""
    return environment(**{f"XDG_{kind}_HOME": str(tmp_path / kind) for kind in ("CONFIG", "CACHE", "DATA")})


def verify(adapter: Path, base: Path, user: dict[str, str], **options: Any) -> dict[str, Any]:
    ran = tenon("verify", adapter, "--base", base, "--json", env=user, **options)
    report: dict[str, Any] = json.loads(ran.stdout)
    return report


def test_an_exported_adapter_is_witnessed(
    trained: RunningSuite, tiny_bases: dict[str, Path], tmp_path: Path, user: dict[str, str]
) -> None:
    exported, base = tmp_path / "exported", tiny_bases["tiny-qwen"]
    assert trained.tenon("adapter", "export", "parrot", exported).returncode == 0

    report = verify(exported, base, user, data_dir=trained.data_dir)
    assert (report["verdict"], report["provenance"]) == ("ADMISSIBLE", "witnessed")
    assert (
        verify(exported, tiny_bases["tiny-gpt"], user, data_dir=trained.data_dir)["reason"]
        == "BASE_FINGERPRINT_MISMATCH"
    )
    assert verify(exported, base, user)["reason"] == "SIGNATURE_UNTRUSTED"

    sealed = tenon("seal", exported, "--base", base, "--json", env=user, data_dir=trained.data_dir)
    assert sealed.returncode == 0, sealed.stdout
    signed = json.loads(sealed.stdout)
    assert (signed["version"], signed["provenance"]) == (report["version"], "witnessed")
    assert len(signed["signatures"]) == 2
    assert verify(exported, base, user)["verdict"] == "ADMISSIBLE"


def test_importing_what_one_sealed_oneself_needs_the_suites_trust(
    trained: RunningSuite, tiny_bases: dict[str, Path], tmp_path: Path, user: dict[str, str]
) -> None:
    adapter, base = tmp_path / "sealed", tiny_bases["tiny-qwen"]
    assert trained.tenon("adapter", "export", "parrot", adapter).returncode == 0
    for name in ("tenon.manifest.json", "tenon.manifest.dsse.json"):
        (adapter / name).unlink()
    assert tenon("seal", adapter, "--base", base, env=user).returncode == 0

    arguments = ("adapter", "import", adapter, "--base", "tiny-qwen", "--name", "own")
    refused = trained.tenon(*arguments, env=user)
    public = tmp_path / "CONFIG" / "tenon" / "keys" / "own.pub.pem"
    assert refused.returncode == 3
    assert f"or put your own public key, {public}, into DIR/keys/trusted of the suite" in refused.stderr

    declared = trained.tenon(*arguments, "--ignore-manifest", env=user)
    assert "\nown answers with it now.\n" in declared.stdout, declared.stderr
    trusted = trained.data_dir / "keys" / "trusted" / "mine.pem"
    shutil.copy(public, trusted)
    try:
        again = trained.tenon(*arguments, env=user)
        assert "\nown answers with it, as before.\n" in again.stdout, again.stderr
    finally:
        trusted.unlink()

    first = json.loads(trained.tenon("adapter", "show", "own", "--json").stdout)["latest_version"]
    (adapter / "chat_template.jinja").write_text("{{ messages }}")
    moved = trained.tenon(*arguments, "--ignore-manifest", env=user)
    assert f"\nown answers with it now; before, with {first[:12]} (declared).\n" in moved.stdout, moved.stderr
