"""How errors of drivers are put into the store's words."""

import errno

import pytest
from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import ReadTimeoutError
from urllib3.response import HTTPResponse

from services.common.artifacts.failures import local_disk_errors, store_disk_errors
from services.common.artifacts.s3_errors import s3_errors
from services.common.errors import DomainError, Reason


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_disk_without_room_is_full(number: int) -> None:
    for context in (store_disk_errors, local_disk_errors):
        with pytest.raises(DomainError, match="no room left in /disk") as caught, context("/disk"):
            raise OSError(number, "no room")
        assert caught.value.reason is Reason.ARTIFACT_STORE_FULL
        assert caught.value.retry_after


@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO, errno.EACCES, errno.ENOENT, errno.ESTALE])
def test_every_other_failure_says_what_cannot_be_used(number: int) -> None:
    with pytest.raises(DomainError, match="in /disk cannot be used now: no") as caught, store_disk_errors("in /disk"):
        raise OSError(number, "no")
    assert caught.value.reason is Reason.ARTIFACT_STORE_UNAVAILABLE
    assert caught.value.retry_after
    with pytest.raises(DomainError, match="/cache cannot be written: no") as caught, local_disk_errors("/cache"):
        raise OSError(number, "no")
    assert caught.value.reason is Reason.DATA_DIRECTORY_UNUSABLE


def s3_error(code: str) -> S3Error:
    return S3Error(HTTPResponse(), code, "signed with secret-echo", "/bucket", "id", "host")


@pytest.mark.parametrize(
    ("error", "reason", "words"),
    [
        (s3_error("XMinioStorageFull"), Reason.ARTIFACT_STORE_FULL, "XMinioStorageFull"),
        (s3_error("QuotaExceeded"), Reason.ARTIFACT_STORE_FULL, "QuotaExceeded"),
        (s3_error("AccessDenied"), Reason.ARTIFACT_STORE_UNAVAILABLE, "check the credentials"),
        (s3_error("SlowDown"), Reason.ARTIFACT_STORE_UNAVAILABLE, "the server answered SlowDown"),
        (ServerError("secret-echo", 503), Reason.ARTIFACT_STORE_UNAVAILABLE, "HTTP 503"),
        (InvalidResponseError(200, "text/html", "secret-echo"), Reason.ARTIFACT_STORE_UNAVAILABLE, "not S3"),
        (ReadTimeoutError(None, "secret-echo", None), Reason.ARTIFACT_STORE_UNAVAILABLE, "ReadTimeoutError"),  # type: ignore[arg-type] # a pool is not needed to fail
        (ConnectionResetError(104, "secret-echo"), Reason.ARTIFACT_STORE_UNAVAILABLE, "ConnectionResetError"),
    ],
)
def test_what_the_s3_client_raises_is_put_into_our_words(error: Exception, reason: Reason, words: str) -> None:
    with pytest.raises(DomainError, match=words) as caught, s3_errors("s3://bucket/"):
        raise error
    assert caught.value.reason is reason
    assert "secret-echo" not in caught.value.message
    assert caught.value.__cause__ is None


def test_an_error_of_ours_passes_as_it_is() -> None:
    ours = DomainError(Reason.ARTIFACT_NOT_FOUND, "gone")
    for context in (s3_errors, store_disk_errors, local_disk_errors):
        with pytest.raises(DomainError) as caught, context("anywhere"):
            raise ours
        assert caught.value is ours
