"""Which names may become part of a path."""

import re
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.artifacts.names import blob_key, check_digest, check_project, check_upload
from services.common.errors import DomainError, Reason

DIGEST = "ab" * 32


@given(
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True), st.from_regex("[0-9a-f]{64}", fullmatch=True)
)
def test_a_blob_lies_inside_its_project(project: str, digest: str) -> None:
    key = PurePosixPath(blob_key(project, digest))
    assert key.parts == ("projects", project, "blobs", "sha256", digest[:2], digest)


@given(st.text(max_size=70) | st.text("az09-./\\\n", max_size=70))
def test_nothing_but_a_slug_becomes_a_path(project: str) -> None:
    slug = 0 < len(project) <= 63 and set(project) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    if slug and project[0] != "-" and project[-1] != "-":
        check_project(project)
        return
    with pytest.raises(DomainError) as caught:
        blob_key(project, DIGEST)
    assert caught.value.reason is Reason.INVALID_ARGUMENT


@given(st.text(max_size=70) | st.text("0123456789abcdefABCDEF", min_size=63, max_size=65))
def test_nothing_but_a_digest_becomes_a_path(digest: str) -> None:
    if len(digest) == 64 and set(digest) <= set("0123456789abcdef"):
        check_digest(digest)
        return
    with pytest.raises(DomainError) as caught:
        blob_key("default", digest)
    assert caught.value.reason is Reason.INVALID_ARGUMENT


def test_an_error_names_the_field_and_shows_the_start_of_the_value() -> None:
    with pytest.raises(DomainError, match=re.escape("The project '" + "x" * 80 + "…' is not valid")) as caught:
        check_upload("x" * 5000, None)
    assert [violation.field for violation in caught.value.violations] == ["project"]
    assert len(caught.value.message) < 300
