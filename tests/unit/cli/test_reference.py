"""The commands against the page that describes them, the gateway that they speak to, and the rules that all of them keep."""

import re
from pathlib import Path
from typing import Any, Final

import click
import pytest

from cli import output
from cli.reference import commands, written_into
from gateway.app import create_app
from gateway.services import open_services
from gateway.settings import GatewaySettings

WITHOUT_JSON: Final = {"tenon up", "tenon completion"}
ENDPOINT: Final = re.compile(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^`]*)`")
ROW: Final = re.compile(r"^\| `([A-Z]+ /[^`]*)` \| (.*) \|$", re.MULTILINE)
STATUS: Final = re.compile(r"^\| (\d+) \|", re.MULTILINE)


@pytest.fixture(scope="module")
def page(project_root: Path) -> str:
    return (project_root / "docs" / "cli.md").read_text()


@pytest.fixture(scope="module")
async def endpoints() -> set[str]:
    nowhere = "127.0.0.1:1"
    settings = GatewaySettings(registry_target=nowhere, trainer_target=nowhere, inference_target=nowhere)
    async with open_services(settings) as services:
        document: dict[str, Any] = create_app(services).openapi()
    return {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}


def test_the_page_describes_the_commands_as_they_are(page: str) -> None:
    assert written_into(page) == page, "run `make reference`"


def test_every_command_prints_json() -> None:
    without = {name for name, command in commands().items() if "--json" not in flags(command)}
    assert without == WITHOUT_JSON


def test_every_command_and_option_says_what_it_is_for() -> None:
    for name, command in commands().items():
        assert command.help, name
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help, (name, parameter.name)


def flags(command: click.Command) -> list[str]:
    return [flag for parameter in command.params for flag in parameter.opts]


def test_every_endpoint_has_a_command_or_a_reason_to_have_none(page: str, endpoints: set[str]) -> None:
    behind = page.split("## What is behind them\n")[1].split("\n## ", maxsplit=1)[0]
    table, rest = behind.split("\nWithout one: ")
    with_command = dict(ROW.findall(table))
    without = set(ENDPOINT.findall(rest))
    assert with_command.keys() | without == endpoints
    assert not with_command.keys() & without
    known = commands()
    for endpoint, cell in with_command.items():
        named = re.findall(r"`(tenon [^`]*)`", cell)
        assert named, endpoint
        assert set(named) <= known.keys(), endpoint


def test_every_exit_status_is_on_the_page(page: str) -> None:
    statuses = {value for name, value in vars(output).items() if name.startswith("EXIT_")}
    assert set(map(int, STATUS.findall(page))) == statuses | {0}
