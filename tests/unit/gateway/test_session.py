"""The console's session: what a cookie opens, and for whom."""

import base64

import pytest
from pydantic import SecretStr
from starlette.datastructures import Headers

from gateway.session import COOKIE, LIFETIME_SECONDS, Sealer, refuse_other_sites
from services.common.errors import DomainError, Reason

KEY = "tenon-" + "k" * 40
NOW = 1_800_000_000.0
SEALER = Sealer(SecretStr("the service token"))


def test_a_session_opens_to_its_key_and_shows_nothing_of_it() -> None:
    sealed = SEALER.seal(KEY, now=NOW)
    assert SEALER.open(sealed, now=NOW) == KEY
    assert KEY.encode() not in base64.urlsafe_b64decode(sealed)
    assert SEALER.seal(KEY, now=NOW) != sealed


def test_a_session_ends_after_twelve_hours() -> None:
    sealed = SEALER.seal(KEY, now=NOW)
    assert LIFETIME_SECONDS == 12 * 3600
    assert SEALER.open(sealed, now=NOW + LIFETIME_SECONDS - 1) == KEY
    assert SEALER.open(sealed, now=NOW + LIFETIME_SECONDS) == ""


def test_no_altered_byte_is_let_through() -> None:
    raw = bytearray(base64.urlsafe_b64decode(SEALER.seal(KEY, now=NOW)))
    for place in range(len(raw)):
        raw[place] ^= 1
        assert SEALER.open(base64.urlsafe_b64encode(raw).decode(), now=NOW) == "", place
        raw[place] ^= 1


def test_another_token_opens_nothing() -> None:
    assert Sealer(SecretStr("another token")).open(SEALER.seal(KEY, now=NOW), now=NOW) == ""


@pytest.mark.parametrize("text", ["", "x", "====", "é", "A" * 10, "A" * 100, "A" * 100_000, KEY])
def test_what_is_no_session_opens_nothing(text: str) -> None:
    assert SEALER.open(text, now=NOW) == ""


@pytest.mark.parametrize(
    ("cookie", "key"),
    [("{}={}", KEY), ("other=1; {}={}; more=2", KEY), ("", ""), ("{}", ""), ("other={1}", ""), ("{}=\0{}", "")],
)
def test_the_key_is_found_among_cookies(cookie: str, key: str) -> None:
    headers = Headers({"cookie": cookie.format(COOKIE, SEALER.seal(KEY))})
    assert SEALER.key_of(headers) == key


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "same-origin", "origin": "https://elsewhere.example"},
        {"origin": "http://tenon.example:8600", "host": "tenon.example:8600"},
        {"origin": "https://tenon.example", "host": "tenon.example"},
    ],
)
def test_the_console_itself_may_change_things(headers: dict[str, str]) -> None:
    refuse_other_sites("POST", Headers(headers))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "ANYTHING"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "cross-site", "origin": "http://tenon.example:8600"},
        {"origin": "null"},
        {"origin": "https://elsewhere.example"},
        {"origin": "http://tenon.example:8601"},
        {"origin": "http://tenon.example:8600.elsewhere.example"},
    ],
)
def test_other_sites_may_not(method: str, headers: dict[str, str]) -> None:
    with pytest.raises(DomainError) as caught:
        refuse_other_sites(method, Headers({"host": "tenon.example:8600", **headers}))
    assert caught.value.reason is Reason.PERMISSION_DENIED


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_changes_nothing(method: str) -> None:
    refuse_other_sites(method, Headers({"sec-fetch-site": "cross-site"}))


def test_a_program_that_names_no_site_may_log_in() -> None:
    refuse_other_sites("POST", Headers({"host": "tenon.example"}), browser_only=True)
    with pytest.raises(DomainError):
        refuse_other_sites("POST", Headers({"origin": "https://elsewhere.example"}), browser_only=True)
