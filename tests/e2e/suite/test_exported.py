"""What the suite trained, outside of it: `tenon adapter export`, then the commands that need no suite."""

import json
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
