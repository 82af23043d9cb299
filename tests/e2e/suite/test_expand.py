"""More rows from few, by a tiny adapter that has learned to say something else than it is asked to reword."""

import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from cli.command_line import tenon as command
from cli.expansion import asking
from cli.expansion.asking import MANNERS, REWORD
from services.common.errors import DomainError, Reason
from tests.support.suite import RunningSuite, environment, running_suite, stop, wait_for
from tests.support.tiny_bases import make_tiny_base

COLOURS = ("red", "blue", "green", "black", "white", "pink", "grey", "gold")
THINGS = ("one", "two", "six", "ten", "cat", "dog", "ape", "sky")
ROWS = [{"instruction": f"Say {colour}", "input": "", "output": f"It is {colour}."} for colour in COLOURS]

Row = dict[str, Any]


@pytest.fixture(scope="module")
def rewriter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    """A suite of its own, because it is harmed; with the adapter `rewriter`, whose answers are two words."""
    root = tmp_path_factory.mktemp("expand")
    chance = random.Random(0)
    taught = [
        {
            "instruction": f"{REWORD.format(manner=chance.choice(MANNERS))}\n\n<text>Say {COLOURS[n % 8]}</text>",
            "output": f"{chance.choice(('Tell', 'Name', 'Write', 'Sing'))} {chance.choice(THINGS)}",
        }
        for n in range(80)
    ]
    (root / "taught.json").write_text(json.dumps(taught))
    (root / "rows.json").write_text(json.dumps(ROWS, indent=2))
    with running_suite(root / "data") as suite:
        assert suite.tenon("base", "add", make_tiny_base(root / "tiny", hidden=64, seed=1)).returncode == 0
        options = ("--epochs", "6", "--batch-size", "4", "--learning-rate", "5e-3", "--validation-fraction", "0")
        ran = suite.tenon("train", "--base", "tiny", "--data", root / "taught.json", "--name", "rewriter", *options)
        assert ran.returncode == 0, ran.stderr
        yield suite


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(ROWS, indent=2))
    return file


def words(rows: Path, output: Path, *options: str) -> list[str]:
    usual = ["--model", "rewriter", "--temperature", "0.8", "-o", str(output)]
    return ["data", "expand", str(rows), *usual, *options]


def read(file: Path) -> list[Row]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def made(file: Path) -> list[Row]:
    """The variants of a result, which holds the rows as they were, in front."""
    rows = read(file)
    assert rows[: len(ROWS)] == ROWS
    answers = {row["output"]: row["instruction"] for row in ROWS}
    variants = rows[len(ROWS) :]
    assert all(set(row) == {"instruction", "input", "output", "synthetic_of"} for row in variants)
    assert all(row["instruction"] != answers[row["output"]] for row in variants)
    prompts = [row["instruction"] for row in rows]
    assert len(set(prompts)) == len(prompts)
    assert len({(row["output"], row["synthetic_of"]) for row in variants}) == len({row["output"] for row in variants})
    return variants


def test_rows_become_more_and_the_same_ones_every_time(rewriter: RunningSuite, rows_file: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    ran = rewriter.tenon(*words(rows_file, first, "--variants", "3", "--json"))
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    variants = made(first)
    assert (report["rows"], report["variants"], report["made_now"]) == (8, len(variants), len(variants))
    assert len(variants) + report["missing"] == 24
    assert len(variants) > 16
    check = report["check"]
    assert (check["row_count"], check["synthetic_row_count"], check["duplicate_row_count"]) == (
        8 + len(variants),
        len(variants),
        0,
    )
    ran = rewriter.tenon(*words(rows_file, second, "--variants", "3"))
    assert ran.returncode == 0, ran.stderr
    assert second.read_bytes() == first.read_bytes()
    assert f"alpaca: {8 + len(variants)} good rows ({len(variants)} synthetic), 0 with faults" in ran.stdout
    # Another seed, other variants.
    rewriter.tenon(*words(rows_file, second.with_name("third"), "--variants", "3", "--seed", "1"))
    assert made(second.with_name("third")) != variants


def test_more_are_added_to_those_there_are(rewriter: RunningSuite, rows_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "more.jsonl"
    assert rewriter.tenon(*words(rows_file, output, "--variants", "1")).returncode == 0
    before = made(output)
    ran = rewriter.tenon(*words(rows_file, output, "--variants", "2", "--json"))
    after = made(output)
    assert all(row in after for row in before)
    assert json.loads(ran.stdout)["made_now"] == len(after) - len(before) > 0


def test_answers_are_asked_for_where_wished(rewriter: RunningSuite, rows_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "more.jsonl"
    ran = rewriter.tenon(*words(rows_file, output, "--variants", "2", "--answers", "--json"))
    report = json.loads(ran.stdout)
    assert ran.returncode == (0 if report["variants"] else 1)
    old = {row["output"] for row in ROWS}
    assert not report["variants"] or any(row["output"] not in old for row in read(output)[len(ROWS) :])


def start(suite: RunningSuite, *arguments: str) -> "subprocess.Popen[str]":
    line = [sys.executable, "-m", "cli", "--data-dir", str(suite.data_dir), *arguments]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())


def test_an_interrupt_keeps_what_was_made(rewriter: RunningSuite, rows_file: Path, tmp_path: Path) -> None:
    output, options = tmp_path / "more.jsonl", ("--variants", "6", "--concurrency", "1")
    running = start(rewriter, *words(rows_file, output, *options))
    wait_for(output.exists, "a first variant")
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130
    kept = made(output)
    assert f"{len(kept)} variants are in {output}; the same command goes on from there." in said
    assert 0 < len(kept) < 48
    ran = rewriter.tenon(*words(rows_file, output, *options, "--json"))
    assert ran.returncode == 0, ran.stderr
    after = made(output)
    assert all(row in after for row in kept)
    assert json.loads(ran.stdout)["made_now"] == len(after) - len(kept) > 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_gateway_that_comes_back_is_waited_for(rewriter: RunningSuite, rows_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "more.jsonl"
    running = start(rewriter, *words(rows_file, output, "--variants", "4"))
    wait_for(output.exists, "a first variant")
    rewriter.processes()["gateway"].kill()
    assert running.poll() is None
    out, said = running.communicate(timeout=120)
    assert running.returncode == 0, said
    assert len(made(output)) > 16
    assert "0 with faults" in out


def test_what_cannot_be_is_told_and_nothing_is_written(rewriter: RunningSuite, rows_file: Path, tmp_path: Path) -> None:
    output, theirs, parquet = tmp_path / "more.jsonl", tmp_path / "theirs", tmp_path / "rows.parquet"
    theirs.write_text("their diary")
    pq.write_table(pa.Table.from_pylist(ROWS), parquet)
    cases = [
        (["data", "expand", str(rows_file), "--model", "nobody", "-o", str(output)], 4, "nobody"),
        (["data", "expand", str(rows_file), "--model", "../x?y#z", "-o", str(output)], 2, "x?y#z"),
        (words(rows_file, theirs), 2, "exists and is not what was made from these rows"),
        (words(rows_file, rows_file), 2, "is the file of the rows"),
        (words(parquet, output), 2, "is Parquet"),
        (words(theirs, output), 2, "theirs:1"),
        (words(tmp_path / "nothing", output), 2, "Cannot read"),
        (words(rows_file, output, "--variants", "0"), 2, "--variants"),
        (words(rows_file, tmp_path / "nowhere" / "more"), 2, "Cannot write"),
        # A base that has learned nothing writes nothing that would do.
        (
            ["data", "expand", str(rows_file), "--model", "tiny", "-o", str(output), "--variants", "1"],
            1,
            "is not written",
        ),
    ]
    before = rows_file.read_bytes()
    for arguments, status, told in cases:
        ran = rewriter.tenon(*arguments)
        assert (ran.returncode, told in ran.stderr) == (status, True), (arguments, ran.stdout, ran.stderr)
        assert "Traceback" not in ran.stderr
    assert not output.exists()
    assert (theirs.read_text(), rows_file.read_bytes()) == ("their diary", before)


@pytest.mark.proof
def test_training_learns_no_variant_of_what_it_measures_on(
    rewriter: RunningSuite, rows_file: Path, tmp_path: Path
) -> None:
    output = tmp_path / "more.jsonl"
    assert rewriter.tenon(*words(rows_file, output, "--variants", "3")).returncode == 0
    variants = len(made(output))
    train = ("train", "--base", "tiny", "--data", output, "--name", "more", "--epochs", "3", "--batch-size", "1")
    ran = rewriter.tenon(*train, "--validation-fraction", "0.5", "--dry-run", "--json")
    assert ran.returncode == 0, (ran.stdout, ran.stderr)
    plan = json.loads(ran.stdout)
    findings = {finding["code"]: finding["text"] for finding in plan["findings"]}
    assert plan["validation_rows"] == 4
    withheld = int(findings["SYNTHETIC_ROWS_WITHHELD"].split()[0])
    assert 0 < withheld < variants
    assert plan["rows"] == 4 + variants - withheld
    ran = rewriter.tenon(*train, "--validation-fraction", "0.5")
    assert ran.returncode == 0, ran.stderr
    assert f"{withheld} synthetic rows are not learnt" in " ".join(ran.stderr.split())
    shown = json.loads(rewriter.tenon("data", "list", "--json").stdout)[0]
    assert shown["tenon"]["statistics"]["synthetic_row_count"] == variants


def test_a_suite_that_goes_away_leaves_what_was_made(
    rewriter: RunningSuite, rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one here: the suite does not come back."""
    output = tmp_path / "more.jsonl"
    monkeypatch.setattr(asking, "RECONNECT_SECONDS", 0.5)
    monkeypatch.setenv("TENON_URL", rewriter.endpoints["gateway"])
    monkeypatch.setenv("TENON_API_KEY", rewriter.key)

    def end_the_suite() -> None:
        wait_for(output.exists, "a first variant")
        stop(rewriter.process)

    ending = threading.Thread(target=end_the_suite)
    ending.start()
    ran = CliRunner().invoke(command, words(rows_file, output, "--variants", "50", "--concurrency", "1"))
    ending.join()
    assert isinstance(ran.exception, DomainError)
    assert ran.exception.reason is Reason.SERVICE_UNAVAILABLE
    assert f"{len(made(output))} variants are in {output}; the same command goes on" in ran.exception.message
