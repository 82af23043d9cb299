from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.errors import DomainError, Reason
from services.common.identity.canonical import canonical_json, parse_json

MAX = 2**53 - 1
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX, MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=5),
    max_leaves=30,
)


@given(_values)
@settings(max_examples=400, deadline=None)
def test_equals_the_reference_implementation(value: Any) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"\ufb01": 1, "\U0001d11e": 2, "a": 3}, '{"a":3,"\U0001d11e":2,"\ufb01":1}'),
        ({"b": [1, 1.0, -0.0, 1e21, 1e-7, True, None], "a": {}}, '{"a":{},"b":[1,1,0,1e+21,1e-7,true,null]}'),
        ('\x00\x1f\x7f\u2028"\\/\b\f\n\r\té', '"\\u0000\\u001f\x7f\u2028\\"\\\\/\\b\\f\\n\\r\\té"'),
        ((1, (2,)), "[1,[2]]"),
    ],
)
def test_spelling(value: Any, text: str) -> None:
    assert canonical_json(value).decode() == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, "\ud800", {"\ud800": 1}, {1: 2}, {1}, b"x"])
def test_what_has_no_canonical_form(value: Any) -> None:
    with pytest.raises(DomainError) as caught:
        canonical_json(value)
    assert caught.value.reason is Reason.FINGERPRINT_INVALID


def test_deep_nesting_is_refused_and_not_a_crash() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    with pytest.raises(DomainError):
        canonical_json(value)
    with pytest.raises(DomainError):
        parse_json(b"[" * 70 + b"]" * 70, what="x", limit=1000, reason=Reason.BASE_NOT_A_MODEL)


def test_a_text_above_the_limit_is_not_parsed() -> None:
    with pytest.raises(DomainError) as caught:
        parse_json(b"[1]", what="x", limit=2, reason=Reason.BASE_NOT_A_MODEL)
    assert caught.value.reason is Reason.LIMIT_EXCEEDED
