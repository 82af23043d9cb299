"""What the URL of the artifact store may say."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.artifacts.location import BucketLocation, DirectoryLocation, parse_location
from services.common.errors import DomainError, Reason


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_every_directory_survives_its_url(name: str) -> None:
    path = Path("/var/lib", name)
    assert parse_location(path.as_uri()) == DirectoryLocation(path)


@pytest.mark.parametrize(
    ("url", "bucket", "prefix"),
    [
        ("s3://tenon", "tenon", ""),
        ("s3://tenon/", "tenon", ""),
        ("s3://tenon-eu.prod/team/artifacts/", "tenon-eu.prod", "team/artifacts"),
        ("s3://tenon/.hidden/v1..2", "tenon", ".hidden/v1..2"),
    ],
)
def test_a_bucket_and_its_prefix(url: str, bucket: str, prefix: str) -> None:
    assert parse_location(url) == BucketLocation(bucket, prefix)


@pytest.mark.parametrize(
    "url",
    [
        "", "artifacts", "/artifacts", "http://host/x", "file:relative", "file://", "file://host/share", "file:///a%00b",
        "s3://", "s3:///prefix", "s3://UPPER", "s3://ab", "s3://bucket:9000/x", "s3://bucket/../other", "s3://bucket/a//b",
        "s3://bucket/.", "s3://bucket/a b", "s3://bucket/x?versionId=1", "file:///x#y", "s3://[bucket/x",
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(DomainError, match=r"TENON_ARTIFACTS_URL is not valid: .+ Examples: ") as caught:
        parse_location(url)
    assert caught.value.reason is Reason.SETTINGS_INVALID


@pytest.mark.parametrize("url", ["s3://key:hunter2@bucket/x", "ftp://key:hunter2@host", "s3://bucket/x?secret=hunter2"])
def test_a_password_in_the_url_is_not_repeated(url: str) -> None:
    with pytest.raises(DomainError) as caught:
        parse_location(url)
    assert "hunter2" not in caught.value.message
