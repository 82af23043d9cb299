"""The console's files: what they may do, and who gets them."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from gateway.app import create_app
from gateway.console import ENTRY, static_files
from gateway.services import open_services
from gateway.session import COOKIE, LIFETIME_SECONDS, Sealer
from gateway.settings import GatewaySettings
from services.common.auth.caller import Caller, Scope
from services.common.auth.guard import unauthenticated
from services.common.auth.keys import key_digest

NOWHERE = "127.0.0.1:1"
TOKEN = "t" * 40
KEY = "tenon-" + "k" * 40
SAME = {"sec-fetch-site": "same-origin"}

Begin = Callable[..., Any]


async def introspect(digest: str, _project: str = "", /) -> Caller:
    if digest != key_digest(KEY):
        raise unauthenticated()
    return Caller(principal="projects/p/apiKeys/key-1", project="p", scopes=frozenset({Scope.READ, Scope.SERVE}))


@pytest.fixture
async def begin() -> AsyncIterator[Begin]:
    """Makes clients of gateways; no service is there."""
    async with AsyncExitStack() as stack:

        async def client(*, keys: bool = True, scheme: str = "http") -> httpx2.AsyncClient:
            settings = GatewaySettings(
                registry_target=NOWHERE,
                trainer_target=NOWHERE,
                inference_target=NOWHERE,
                service_token=SecretStr(TOKEN) if keys else None,
            )
            services = await stack.enter_async_context(open_services(settings))
            app = create_app(replace(services, introspect=introspect if keys else None))
            transport = httpx2.ASGITransport(app=app)
            made = httpx2.AsyncClient(transport=transport, base_url=f"{scheme}://tenon.example")
            return await stack.enter_async_context(made)

        yield client


async def test_the_way_in_leads_to_the_page(begin: Begin) -> None:
    http = await begin()
    for path in ("/", "/console"):
        answer = await http.get(path)
        assert (answer.status_code, answer.headers["location"]) == (307, "/console/")
    page = await http.get("/console/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src", "form-action")} == {"'self'"}
    assert (policy["frame-ancestors"], policy["base-uri"]) == ("'none'", "'none'")
    assert (await http.get("/v1/models")).headers[
        "content-security-policy"
    ] == "default-src 'none'; frame-ancestors 'none'"


async def test_a_browser_that_has_a_file_is_not_sent_it_again(begin: Begin) -> None:
    http = await begin()
    first = await http.get("/console/app.js")
    assert first.headers["cache-control"] == "no-cache"
    again = await http.get("/console/app.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = await http.get("/console/style.css", headers={"if-none-match": first.headers["etag"]})
    assert other.status_code == 200


@pytest.mark.parametrize("path", ["../app.py", "%2e%2e/app.py", "__init__.py", "pages/", "nothing.js", "//etc/passwd"])
async def test_nothing_but_the_console_s_files_is_sent(begin: Begin, path: str) -> None:
    http = await begin()
    assert (await http.get(f"/console/{path}")).status_code in {401, 404}


def test_every_file_named_is_there_and_on_this_host() -> None:
    files = static_files()
    for name, file in files.items():
        text = file.content.decode()
        folder = name.rpartition("/")[0]
        for there in re.findall(r'from "([^"]+)"', text):
            parts = [part for part in f"{folder}/{there}".split("/") if part not in {"", "."}]
            while ".." in parts:
                at = parts.index("..")
                del parts[at - 1 : at + 1]
            assert "/".join(parts) in files, (name, there)
        hosts = set(re.findall(r"https?://[^\s\"'`)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert hosts == set(), name
    for there in re.findall(r'(?:src|href)="([^"#]+)"', files[ENTRY].content.decode()):
        assert there in files


def test_no_data_is_taken_for_html_or_script() -> None:
    for name, file in static_files().items():
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            ' style="',
        ):
            assert way not in file.content.decode(), (name, way)


async def test_a_session_stands_for_its_key(begin: Begin) -> None:
    http = await begin()
    made = await http.post("/v1/session", json={"api_key": KEY})
    assert made.json() == {
        "object": "session", "principal": "projects/p/apiKeys/key-1", "project": "p", "scopes": ["read", "serve"], "prefix": KEY[:14],
    }  # fmt: skip
    cookie = made.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/" in cookie
    assert f"max-age={LIFETIME_SECONDS}" in cookie
    assert "secure" not in cookie
    assert KEY not in cookie
    assert (await http.get("/v1/session")).json() == made.json()
    ended = await http.delete("/v1/session", headers=SAME)
    assert ended.json()["ended"] is True
    assert (await http.get("/v1/session")).status_code == 401


async def test_a_session_over_https_stays_there(begin: Begin) -> None:
    http = await begin(scheme="https")
    assert "; secure" in (await http.post("/v1/session", json={"api_key": KEY})).headers["set-cookie"].lower()


@pytest.mark.parametrize("key", ["", "tenon-" + "x" * 40, "anything"])
async def test_no_session_without_a_good_key(begin: Begin, key: str) -> None:
    http = await begin()
    answer = await http.post("/v1/session", json={"api_key": key})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert (await http.get("/v1/session")).status_code == 401


async def test_a_session_of_another_suite_is_none(begin: Begin) -> None:
    http = await begin()
    http.cookies.set(COOKIE, Sealer(SecretStr("another")).seal(KEY))
    assert (await http.get("/v1/session")).status_code == 401


async def test_another_site_changes_nothing_with_a_session(begin: Begin) -> None:
    http = await begin()
    await http.post("/v1/session", json={"api_key": KEY})
    job = {"model": "m", "training_file": "f"}
    for headers in ({}, {"sec-fetch-site": "cross-site"}, {"origin": "https://elsewhere.example"}):
        assert (await http.post("/v1/fine_tuning/jobs", json=job, headers=headers)).status_code == 403
    # The service that would take it is not there.
    for headers in (SAME, {"origin": "http://tenon.example"}, {"authorization": f"Bearer {KEY}"}):
        assert (await http.post("/v1/fine_tuning/jobs", json=job, headers=headers)).status_code != 403
    assert (await http.delete("/v1/session", headers={"sec-fetch-site": "cross-site"})).status_code == 403
    login = await http.post("/v1/session", json={"api_key": KEY}, headers={"origin": "https://elsewhere.example"})
    assert login.status_code == 403


async def test_a_suite_without_keys_needs_no_session(begin: Begin) -> None:
    http = await begin(keys=False)
    answer = (await http.get("/v1/session")).json()
    assert (answer["principal"], answer["prefix"]) == ("anyone", None)
    assert "set-cookie" not in (await http.post("/v1/session", json={"api_key": "anything"})).headers
