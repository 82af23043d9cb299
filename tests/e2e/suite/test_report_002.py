"""The persona test that went wrong: 20 rows in batches of 16, and nobody warned. Here it cannot go unnoticed.

Twenty rows are refused before the start with what would work; forced, they end as NOT_LEARNED. The 136 rows are LEARNED, and
paraphrases that were not in them are answered by what was learnt.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.bases import default_directory, ensure_bases
from tests.support.suite import PROJECT, RunningSuite, running_suite

pytestmark = [pytest.mark.proof, pytest.mark.timeout(1800)]

PERSONA = PROJECT / "examples" / "monkey_king"
ROWS = json.loads((PERSONA / "train.json").read_text())
HELD_OUT = json.loads((PERSONA / "heldout.json").read_text())
OF_THE_REPORT = ("--epochs", "3", "--batch-size", "16", "--learning-rate", "1e-4")


@pytest.fixture(scope="module")
def persona(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuite]:
    base = ensure_bases(default_directory(), print, only=("qwen2-small",))["qwen2-small"]
    with running_suite(tmp_path_factory.mktemp("persona")) as suite:
        added = suite.tenon("base", "add", base, "--name", "qwen2-small")
        assert added.returncode == 0, added.stderr
        yield suite


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """20 rows, 136 rows, as many as the report had, and 20 paraphrases of which none is among them."""
    directory = tmp_path_factory.mktemp("rows")
    seen = {row["instruction"] for row in ROWS}
    assert not [row for row in HELD_OUT if row["instruction"] in seen]
    held_out = [{key: row[key] for key in ("instruction", "input", "output")} for row in HELD_OUT]
    contents = {"few": spread(20), "many": spread(136), "held out": held_out}
    for name, rows in contents.items():
        (directory / f"{name}.json").write_text(json.dumps(rows, ensure_ascii=False))
    return {name: directory / f"{name}.json" for name in contents}


def spread(count: int) -> list[dict[str, str]]:
    """So many of the persona's rows, from all over them."""
    return [ROWS[index * len(ROWS) // count] for index in range(count)]


def train(suite: RunningSuite, rows: Path, name: str, *options: str | Path) -> Any:
    words = ("train", "--base", "qwen2-small", "--data", rows, "--name", name, *options)
    return suite.tenon(*words, timeout=900)


def report(suite: RunningSuite) -> dict[str, Any]:
    """Of the newest job."""
    jobs = json.loads(suite.tenon("job", "list", "--json").stdout)
    found: dict[str, Any] = json.loads(suite.tenon("job", "report", jobs[0]["id"], "--json").stdout)
    shown = suite.tenon("job", "report", jobs[0]["id"]).stdout
    assert shown.startswith(found["verdict"].upper().replace("_", " "))
    return found


def test_twenty_rows_are_called_hopeless_with_what_would_work(persona: RunningSuite, files: dict[str, Path]) -> None:
    dry = train(persona, files["few"], "persona-20", *OF_THE_REPORT, "--dry-run")
    assert dry.returncode == 3
    assert "HOPELESS TOO_FEW_STEPS: 20 rows, 3 epochs and a batch of 16 make only 4 optimizer steps" in dry.stdout
    assert "batch_size 1 with epochs 5" in dry.stdout
    ran = train(persona, files["few"], "persona-20", *OF_THE_REPORT)
    assert ran.returncode == 3
    assert "only 4 optimizer steps" in ran.stderr
    assert "batch_size 1 with epochs 5" in ran.stderr
    assert json.loads(persona.tenon("job", "list", "--json").stdout) == []


def test_forced_they_are_not_learned(persona: RunningSuite, files: dict[str, Path]) -> None:
    options = (*OF_THE_REPORT, "--force", "--validation-data", files["held out"])
    ran = train(persona, files["few"], "persona-20", *options)
    assert ran.returncode == 0, ran.stderr
    found = report(persona)
    assert (found["verdict"], found["forced"]) == ("not_learned", True)
    assert "answers like the base" in found["reasons"][0]


def test_a_hundred_and_thirty_six_rows_are_learned_on_paraphrases_too(
    persona: RunningSuite, files: dict[str, Path]
) -> None:
    dry = ("--epochs", "5", "--batch-size", "4", "--validation-data", files["held out"], "--dry-run", "--json")
    plan = train(persona, files["many"], "persona-136", *dry)
    assert plan.returncode == 0, plan.stderr
    assert json.loads(plan.stdout)["steps"] == 170

    options = ("--epochs", "20", "--batch-size", "4", "--learning-rate", "2e-3", "--lora-rank", "32")
    ran = train(persona, files["many"], "persona-136", *options, "--validation-data", files["held out"])
    assert ran.returncode == 0, ran.stderr
    found = report(persona)
    assert found["verdict"] == "learned"
    held_out = found["held_out"]
    assert held_out["rows"] == len(HELD_OUT)
    assert held_out["adapter_loss"] < 0.5 * held_out["base_loss"]
    assert held_out["adapter_accuracy"] > 0.5 > 2 * held_out["base_accuracy"]

    right = {model: knows(persona, model) for model in ("persona-136", "qwen2-small")}
    assert right["persona-136"] >= 0.4 * len(HELD_OUT), right
    assert right["qwen2-small"] == 0


def knows(suite: RunningSuite, model: str) -> int:
    """How many paraphrases are answered with the fact that they ask for."""
    right = 0
    with suite.client() as client:
        for row in HELD_OUT:
            messages = [{"role": "user", "content": row["instruction"]}]
            body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 48}
            text = client.post("/v1/chat/completions", body)["choices"][0]["message"]["content"]
            right += any(fact in text for fact in row["facts"])
    return right
