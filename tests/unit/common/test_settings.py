"""Settings: faults are named, secrets are not."""

import pytest

from services.common.errors import DomainError, Reason
from services.common.settings import ArtifactSettings, DatabaseSettings, ServerSettings, TrustSettings


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TENON_DATABASE_URL", raising=False)
    with pytest.raises(DomainError) as caught:
        DatabaseSettings.load()
    assert caught.value.reason is Reason.SETTINGS_INVALID
    assert "TENON_DATABASE_URL" in caught.value.message


def test_a_wrong_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENON_DATABASE_URL", "postgresql://user:hunter2@host/db")
    monkeypatch.setenv("TENON_DATABASE_POOL_SIZE", "hunter2")
    with pytest.raises(DomainError) as caught:
        DatabaseSettings.load()
    assert "TENON_DATABASE_POOL_SIZE" in caught.value.message
    assert "hunter2" not in caught.value.message


def test_a_list_that_is_no_json_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENON_TRUSTED_KEYS", "/hunter2")
    with pytest.raises(DomainError, match=r"TENON_TRUSTED_KEYS: .*JSON") as caught:
        TrustSettings.load()
    assert caught.value.reason is Reason.SETTINGS_INVALID
    assert "hunter2" not in caught.value.message


def test_secrets_are_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENON_DATABASE_URL", "postgresql://user:hunter2@host/db")
    monkeypatch.setenv("TENON_ARTIFACTS_URL", "s3://bucket")
    monkeypatch.setenv("TENON_S3_SECRET_KEY", "hunter2")
    for settings in (DatabaseSettings.load(), ArtifactSettings.load()):
        assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump_json()}"


@pytest.mark.parametrize("listen", ["", "localhost", ":80x", "host:"])
def test_an_address_without_a_port_is_refused(monkeypatch: pytest.MonkeyPatch, listen: str) -> None:
    monkeypatch.setenv("TENON_LISTEN", listen)
    with pytest.raises(DomainError, match="TENON_LISTEN"):
        ServerSettings.load()
