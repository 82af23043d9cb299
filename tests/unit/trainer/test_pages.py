import pytest

from services.common.errors import DomainError
from services.common.paging import encode_page_token
from services.trainer.support.pages import next_token, read_position


def test_tokens_lead_on_and_foreign_ones_are_refused() -> None:
    token = next_token([9, 8, 7], 2, "jobs of a")
    assert read_position(token, "jobs of a") == 8
    assert next_token([9, 8], 2, "jobs of a") == ""
    assert read_position("", "jobs of a") is None
    for wrong, scope in (
        (token, "jobs of b"),
        (next_token_of("x"), "jobs of a"),
        (next_token_of("9" * 19), "jobs of a"),
    ):
        with pytest.raises(DomainError, match="not from this list"):
            read_position(wrong, scope)


def next_token_of(key: str) -> str:
    return encode_page_token(key, "jobs of a")
