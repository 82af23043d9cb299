"""What the S3 client raises, put into the store's own words; nothing of a credential, a header or a body passes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError

from services.common.artifacts import failures
from services.common.errors import DomainError

MISSING: Final = frozenset({"NoSuchKey", "NoSuchObject", "NotFound"})
"""Codes by which servers say that there is no such object."""

_FULL: Final = frozenset(
    {"InsufficientStorage", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull"}
)

NOT_S3: Final = "the answer is not S3; check TENON_S3_ENDPOINT and TENON_S3_SECURE"

_ADVICE: Final = {
    "NoSuchBucket": "the bucket does not exist; create it",
    "AccessDenied": "access is denied; check the credentials and the bucket's policy",
    "InvalidAccessKeyId": "the access key is unknown; check TENON_S3_ACCESS_KEY",
    "SignatureDoesNotMatch": "the signature does not match; check TENON_S3_SECRET_KEY and TENON_S3_REGION",
    "AuthorizationHeaderMalformed": "the request was signed for another region; check TENON_S3_REGION",
    "RequestTimeTooSkewed": "the clocks of server and client differ; set them",
}


@contextmanager
def s3_errors(place: str) -> Iterator[None]:
    """Turn every failure of the S3 client or its connection into ARTIFACT_STORE_FULL or …_UNAVAILABLE.

    `from None`: the client's exceptions hold the response, and a server may echo what was signed in it.
    """
    try:
        yield
    except S3Error as error:
        raise _from_code(place, error.code or "unknown error") from None
    except (MinioException, HTTPError, OSError) as error:
        raise failures.unavailable(place, _in_words(error)) from None


def _from_code(place: str, code: str) -> DomainError:
    if code in _FULL:
        return failures.full(place, code)
    return failures.unavailable(place, _ADVICE.get(code, f"the server answered {code[:80]}"))


def _in_words(error: Exception) -> str:
    match error:
        case ServerError():
            return f"the server answered HTTP {error.status_code}"
        case InvalidResponseError():
            return NOT_S3
        case _:
            return f"no connection, or it broke ({type(error).__name__}); check TENON_S3_ENDPOINT and that it runs"
