"""Resource names and page tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import DomainError, Reason
from services.common.paging import decode_page_token, encode_page_token, page_limit
from services.common.resource_names import (
    AdapterName,
    AdapterVersionName,
    AliasName,
    BaseModelName,
    DatasetName,
    ProjectName,
    ResourceName,
    TrainingJobName,
    parse_adapter_reference,
)

DIGEST = "0123456789abcdef" * 4
PROJECT = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
SLUG = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ProjectName, "projects/default"),
        (BaseModelName, "baseModels/qwen2.5-0.5b"),
        (AdapterName, "projects/p/adapters/a"),
        (AdapterVersionName, f"projects/p/adapters/a/versions/{DIGEST}"),
        (AliasName, "projects/p/adapters/a/aliases/latest"),
        (DatasetName, "projects/p/datasets/file-1"),
        (TrainingJobName, "projects/p/trainingJobs/ftjob-1"),
    ],
)
def test_a_name_is_read_and_written(kind: type[ResourceName], name: str) -> None:
    assert str(kind.parse(name)) == name


@given(PROJECT, SLUG)
def test_every_pair_of_slugs_is_a_name(project: str, adapter: str) -> None:
    assert AdapterName.parse(str(AdapterName(project, adapter))) == AdapterName(project, adapter)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "projects",
        "projects/p/adapters",
        "projects/p/adapters/",
        "projects/p/adapters/a/",
        "projects/p/adapters/a/b",
        "projects/../adapters/a",
        "projects/./adapters/a",
        "projects/a.b/adapters/a",
        "projects/a_b/adapters/a",
        "projects/p/adapters/A",
        "projects/p/adapters/ä",
        "projects/p/adapters/a b",
        "projects/p/adapters/a\n",
        "projects/p/adapters/-a",
        f"projects/p/adapters/{'a' * 64}",
        "Projects/p/adapters/a",
    ],
)
def test_anything_else_is_refused_with_its_field(name: str) -> None:
    with pytest.raises(DomainError) as caught:
        AdapterName.parse(name, "parent")
    assert caught.value.reason is Reason.INVALID_ARGUMENT
    assert [violation.field for violation in caught.value.violations] == ["parent"]


@pytest.mark.parametrize("version", ["latest", DIGEST[:-1], DIGEST.upper(), DIGEST + "0"])
def test_a_version_is_a_digest(version: str) -> None:
    with pytest.raises(DomainError):
        AdapterVersionName.parse(f"projects/p/adapters/a/versions/{version}")


def test_an_adapter_reference_is_what_it_looks_like() -> None:
    assert parse_adapter_reference("projects/p/adapters/a") == AdapterName("p", "a")
    assert parse_adapter_reference("projects/p/adapters/a/aliases/x") == AliasName("p", "a", "x")
    assert parse_adapter_reference(f"projects/p/adapters/a/versions/{DIGEST}") == AdapterVersionName("p", "a", DIGEST)
    with pytest.raises(DomainError):
        parse_adapter_reference("projects/p/adapters/a/other/x")


@pytest.mark.parametrize(("asked", "given_"), [(0, 50), (1, 1), (500, 500), (10**6, 500)])
def test_page_sizes(asked: int, given_: int) -> None:
    assert page_limit(asked) == given_


def test_a_negative_page_size_is_refused() -> None:
    with pytest.raises(DomainError):
        page_limit(-1)


@given(st.text(min_size=1), st.text())
def test_a_page_token_gives_its_key_back_in_its_own_list_only(key: str, scope: str) -> None:
    token = encode_page_token(key, scope)
    assert decode_page_token(token, scope) == key
    with pytest.raises(DomainError):
        decode_page_token(token, scope + "x")


@given(st.text(min_size=1) | st.binary(min_size=1).map(lambda data: data.decode("latin-1")))
def test_no_text_breaks_the_reader_of_tokens(token: str) -> None:
    with pytest.raises(DomainError) as caught:
        decode_page_token(token, "scope")
    assert caught.value.reason is Reason.INVALID_ARGUMENT


def test_an_empty_token_starts_the_list() -> None:
    assert decode_page_token("", "scope") == encode_page_token("", "scope") == ""
