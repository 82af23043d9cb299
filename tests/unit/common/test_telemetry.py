"""Log lines: one each, with what they carry, and without the values of local variables."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from services.common.settings import CommonSettings
from services.common.telemetry import configure_logs

SECRET = "hunter2"


def fail(password: str) -> None:
    raise ValueError(len(password))


@pytest.fixture
def _logs_restored() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.mark.usefixtures("_logs_restored")
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_exception_is_logged_without_local_variables(log_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logs(CommonSettings(log_level="INFO", log_format=log_format, otlp_endpoint=None))
    try:
        fail(SECRET)
    except ValueError:
        structlog.get_logger("here").exception("it failed", job="j1")
    text = stream.getvalue()
    assert "it failed" in text
    assert "ValueError" in text
    assert SECRET not in text


@pytest.mark.usefixtures("_logs_restored")
def test_lines_of_other_libraries_are_json_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logs(CommonSettings(log_level="INFO", log_format="json", otlp_endpoint=None))
    logging.getLogger("elsewhere").warning("größer %d", 3)
    structlog.get_logger("here").info("ours", size=1)
    logging.getLogger("elsewhere").debug("not shown")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line["logger"], line["level"]) for line in lines] == [
        ("größer 3", "elsewhere", "warning"),
        ("ours", "here", "info"),
    ]
    assert lines[1]["size"] == 1
