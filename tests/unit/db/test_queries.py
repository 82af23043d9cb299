import pytest

from services.common.db.queries import parse_queries


def test_each_block_is_a_query_with_its_comment() -> None:
    queries = parse_queries("-- Above all.\n\n-- name: one\n-- why\nSELECT 1\n\n-- name: two_b\nSELECT\n  %(n)s\n")
    assert {name: query.as_string() for name, query in queries.items()} == {
        "one": "-- why\nSELECT 1",
        "two_b": "SELECT\n  %(n)s",
    }


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("SELECT 1\n-- name: a\nSELECT 2", "before the first"),
        ("-- name: a\nSELECT 1\n-- name: a\nSELECT 2", "twice"),
        ("-- name: a\n-- only words\n-- name: b\nSELECT 2", "without a statement"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        parse_queries(text)
