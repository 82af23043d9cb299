"""The edges of the command line: interrupts before it is there, errors as documents, output that nobody takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import command_line
from cli.command_line import tenon
from cli.commands import adapter_import
from cli.output import EXIT_REFUSED
from services.common.errors import DomainError, Reason
from tests.support.suite import environment

INTERRUPTED = """
import importlib, os, signal
from cli import __main__
importlib.import_module = lambda name: os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, {handler})
try:
    __main__.main()
except AttributeError:  # what was imported is no module
    print(signal.getsignal(signal.SIGINT) is {handler})
"""


@pytest.mark.parametrize(
    ("handler", "status", "out"), [("signal.default_int_handler", -2, ""), ("signal.SIG_IGN", 0, "True\n")]
)
def test_an_interrupt_while_the_command_line_is_loaded(handler: str, status: int, out: str) -> None:
    script = INTERRUPTED.format(handler=handler)
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(), check=False, timeout=60
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (status, out, "")


def document(*arguments: str) -> dict[str, object]:
    """What a command that fails prints on stderr."""
    ran = CliRunner().invoke(tenon, arguments)
    assert ran.exit_code != 0
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1
    error: dict[str, object] = json.loads(ran.stderr)["error"]
    return error


def test_an_error_is_a_document_where_json_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    error = document("adapter", "show", "No Name", "--json")
    assert error["reason"] == "INVALID_ARGUMENT"
    assert error["metadata"] == {"field": "name"}
    assert "'No Name' is not a valid id" in str(error["message"])
    monkeypatch.setenv("TENON_URL", "http://127.0.0.1:1")
    assert document("job", "list", "--json")["reason"] == "SERVICE_UNAVAILABLE"
    assert "Missing option '--base'" in str(document("train", "--json", "--name", "x")["message"])


def test_an_error_is_a_sentence_alone_where_it_is_not() -> None:
    ran = CliRunner().invoke(tenon, ["adapter", "show", "No Name"])
    assert isinstance(ran.exception, DomainError)
    assert ran.stdout == ""


def test_an_error_with_a_status_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise DomainError(Reason.MANIFEST_INVALID, "It is none.", {"key": "files"})

    monkeypatch.setattr(adapter_import, "require_adapter", lambda _: None)
    monkeypatch.setattr(adapter_import, "refuse_unsafe", refused)
    arguments = ["adapter", "import", str(tmp_path), "--name", "x", "--base", "b"]
    ran = CliRunner().invoke(tenon, [*arguments, "--json"])
    assert ran.exit_code == EXIT_REFUSED
    assert json.loads(ran.stderr) == {
        "error": {"reason": "MANIFEST_INVALID", "message": "It is none.", "metadata": {"key": "files"}}
    }
    monkeypatch.setattr(sys, "argv", ["tenon", *arguments])
    with pytest.raises(SystemExit) as ended:
        command_line.run()
    said = capsys.readouterr()
    assert ended.value.code == EXIT_REFUSED
    assert (said.out, said.err) == ("", "Error: It is none.\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell: str) -> None:
    script = CliRunner().invoke(tenon, ["completion", shell])
    assert script.exit_code == 0
    assert "_TENON_COMPLETE" in script.output
    # fish tells the word at hand, the others its number.
    word = "re" if shell == "fish" else "2"
    asked = {"_TENON_COMPLETE": f"{shell}_complete", "COMP_WORDS": "tenon key re", "COMP_CWORD": word}
    assert "revoke" in CliRunner().invoke(tenon, prog_name="tenon", env=asked).output
