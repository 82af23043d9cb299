import pytest

from services.common.errors import DomainError, Reason
from services.registry.texts import check_line, check_sources, check_text

COMMIT = "a" * 40


@pytest.mark.parametrize(
    "source",
    [
        f"hf://gpt2@{COMMIT}",
        f"hf://Qwen/Qwen2.5-0.5B-Instruct@{COMMIT}",
        "file:///models/tiny",
        "file:///models/with%20space",
        "s3://bucket/prefix/deeper",
        "s3://my.bucket-1",
        "s3://bucket/...",
    ],
)
def test_sources_of_every_kind_are_taken_as_they_are(source: str) -> None:
    assert check_sources([source, source]) == (source,)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "tiny",
        "/models/tiny",
        "file://models/tiny",
        "file:///a?b",
        "hf://gpt2",
        "hf://gpt2@main",
        "hf://gpt2@" + "A" * 40,
        f"hf://a/b/c@{COMMIT}",
        f"hf://@{COMMIT}",
        "s3://",
        "s3://B/x",
        "s3://bucket//x",
        "s3://bucket/../x",
        "s3://bucket/a b",
        "s3://bucket/a\n",
        "gs://bucket/x",
        "file:///a\0b",
        "s3://bucket/" + "x" * 2048,
    ],
)
def test_malformed_sources_are_refused_and_shown(source: str) -> None:
    with pytest.raises(DomainError) as caught:
        check_sources([source])
    assert caught.value.reason is Reason.BASE_SOURCE_INVALID
    assert len(caught.value.message) < 500


def test_there_is_at_least_one_and_not_too_many() -> None:
    for sources in ([], [f"file:///{n}" for n in range(33)]):
        with pytest.raises(DomainError) as caught:
            check_sources(sources)
        assert caught.value.violations[0].field == "base_model.sources"
    assert len(check_sources([f"file:///{n}" for n in range(32)])) == 32


def test_text_is_bounded_in_characters() -> None:
    assert check_text("猴" * 10, "name", 10) == "猴" * 10
    for wrong in ("猴" * 11, "a\0"):
        with pytest.raises(DomainError) as caught:
            check_text(wrong, "name", 10)
        assert caught.value.violations[0].field == "name"


def test_a_line_is_taken_without_the_spaces_around_it() -> None:
    assert check_line("  it swears\u3000in 中文 👩‍👧 ", "reason", 100) == "it swears\u3000in 中文 👩‍👧"


@pytest.mark.parametrize("value", ["", " \n ", "a\nb", "a\x7fb", "a\x9bb", "a\u2029b", "a\0b", "x" * 11])
def test_what_is_no_line_is_refused(value: str) -> None:
    with pytest.raises(DomainError) as caught:
        check_line(value, "reason", 10)
    assert caught.value.violations[0].field == "reason"
