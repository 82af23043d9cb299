"""Which store the settings name."""

import pytest
from pydantic import SecretStr

from services.common.artifacts.connect import connect_store
from services.common.artifacts.s3 import S3Server, S3Store
from services.common.errors import DomainError, Reason
from services.common.settings import ArtifactSettings

SETTINGS = ArtifactSettings(
    artifacts_url="s3://tenon-artifacts/team",
    s3_endpoint="127.0.0.1:9000",
    s3_access_key=SecretStr("hunter1"),
    s3_secret_key=SecretStr("hunter2"),
    s3_region="eu-central-1",
    s3_secure=False,
)


def test_a_bucket_is_connected_without_asking_it() -> None:
    store = connect_store(SETTINGS)
    assert isinstance(store, S3Store)
    assert repr(store) == "S3Store('s3://tenon-artifacts/team/ at 127.0.0.1:9000')"


def test_aws_is_the_server_where_none_is_named() -> None:
    assert repr(connect_store(SETTINGS.model_copy(update={"s3_endpoint": None}))).endswith("at s3.amazonaws.com')")


@pytest.mark.parametrize(
    "change", [{"s3_secret_key": None}, {"s3_access_key": None}, {"s3_endpoint": "http://127.0.0.1:9000/x"}]
)
def test_half_credentials_and_wrong_endpoints_are_refused(change: dict[str, str | None]) -> None:
    with pytest.raises(DomainError, match="TENON_S3_") as caught:
        connect_store(SETTINGS.model_copy(update=change))
    assert caught.value.reason is Reason.SETTINGS_INVALID
    assert "hunter" not in caught.value.message


def test_credentials_are_not_shown() -> None:
    assert "hunter" not in repr(S3Server("localhost", "hunter1", "hunter2"))
