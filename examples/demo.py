"""`make demo`: three adapters on three bases, each answering on its own base and refused on every other.

Everything is real: the suite runs as separate processes (`tenon up` on a port of its own, in a temporary directory),
the bases are made once and cached, the adapters are trained here and now.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from cli.client import Suite, find_key
from cli.commands.base import register_base
from cli.progress import follow
from examples.bases import default_directory, ensure_bases
from services.common.auth.credentials import KeyCredentials
from services.common.errors import DomainError, Reason
from services.common.rpc.channel import open_channel
from tenon.inference.v1 import inference_pb2, inference_pb2_grpc

EXAMPLES = Path(__file__).parent
START_SECONDS = 60.0
SHOWN_ANSWERS = 3
LONGEST_ANSWER = 48
EXACT_SHARE = 0.8

console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """One adapter of the demo, as examples/adapters.json describes it."""

    name: str
    base: str
    dataset: Path
    format: str
    hyperparameters: dict[str, Any]

    def questions(self) -> list[tuple[str, str]]:
        """Every question of the data set with its answer."""
        text = self.dataset.read_text()
        rows = json.loads(text) if self.format == "alpaca" else [json.loads(line) for line in text.splitlines()]
        keys = ("instruction", "output") if self.format == "alpaca" else ("prompt", "completion")
        return [(row[keys[0]], row[keys[1]]) for row in rows]


@dataclass(frozen=True, slots=True)
class Score:
    """How many questions were answered exactly, by the adapter and by its base alone."""

    adapter: int
    base: int
    questions: int

    @property
    def good(self) -> bool:
        """Whether the adapter learned what its base did not know."""
        return self.adapter >= EXACT_SHARE * self.questions and self.base == 0


def main() -> int:
    """Run the demo; 0 if every promise was kept."""
    started = time.monotonic()
    plans = read_plans()
    console.rule("1. Base models")
    bases = ensure_bases(default_directory(), lambda line: console.print(line, markup=False))
    with tempfile.TemporaryDirectory(prefix="tenon demo ") as directory, running_suite(Path(directory)) as endpoints:
        key = find_key(Path(directory), endpoints["gateway"])
        with Suite(endpoints["gateway"], key) as suite:
            for name, path in bases.items():
                registered = register_base(suite, str(path), name, Path(directory) / "cache")
                console.print(f"{name}: {registered['fingerprint']['architecture']}, "
                              f"fingerprint {registered['fingerprint']['id'][:16]}…")  # fmt: skip
            console.rule("2. Training")
            # What is trained already is asked while the next one trains.
            with ThreadPoolExecutor(1) as examiner:
                exams = [examiner.submit(score, suite, plan) for plan in train(suite, plans)]
                console.rule("3. Answers: base beside adapter")
                scores = {plan.name: show(exam.result()) for plan, exam in zip(plans, exams, strict=True)}
        console.rule("4. Wrong pairs")
        refused = asyncio.run(try_wrong_pairs(endpoints["inference"], key, plans))
    console.rule("Result")
    good = report(scores, refused, len(plans) * (len(plans) - 1))
    console.print(f"{time.monotonic() - started:.0f} s in all")
    return 0 if good else 1


def read_plans() -> list[Plan]:
    """Read examples/adapters.json."""
    entries = json.loads((EXAMPLES / "adapters.json").read_text())
    return [
        Plan(e["name"], e["base"], EXAMPLES.parent / e["dataset"], e["format"], e["hyperparameters"]) for e in entries
    ]


@contextmanager
def running_suite(directory: Path) -> Iterator[dict[str, str]]:
    """Run `tenon up` on a free port until the block ends; gives its endpoints."""
    console.print("starting the suite …")
    command = [sys.executable, "-m", "cli", "--data-dir", str(directory), "up", "--listen", "127.0.0.1:0"]
    # A process group of its own: Ctrl-C reaches the demo, and the demo stops the suite.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        yield wait_until_ready(process, directory)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def wait_until_ready(process: "subprocess.Popen[str]", directory: Path) -> dict[str, str]:
    """Read the endpoints the suite writes once it is ready."""
    path = directory / "run" / "endpoints.json"
    give_up = time.monotonic() + START_SECONDS
    while not path.exists():
        if process.poll() is not None or time.monotonic() > give_up:
            raise SystemExit(f"The suite did not start; see {directory}/logs.")
        time.sleep(0.05)
    endpoints: dict[str, str] = json.loads(path.read_text())
    return endpoints


def train(suite: Suite, plans: list[Plan]) -> Iterator[Plan]:
    """Queue every job, then follow each to its end; gives each plan once its adapter answers."""
    jobs = {plan.name: queue_job(suite, plan) for plan in plans}
    for plan in plans:
        started = time.monotonic()
        console.print(f"[bold]{plan.name}[/bold] on {plan.base}: {len(plan.questions())} rows")
        ended = follow(suite, jobs[plan.name], as_json=False)
        if ended["status"] != "succeeded":
            why = ended["error"]["message"] if ended["error"] else f"it was {ended['status']}."
            raise SystemExit(f"{plan.name} did not train: {why}")
        progress = ended["tenon"]["progress"]
        seconds = time.monotonic() - started
        console.print(f"{progress['step']} steps in {seconds:.0f} s, loss of the last one {progress['loss']:.3f}")
        yield plan


def queue_job(suite: Suite, plan: Plan) -> str:
    """Upload the data set and create the job; gives its id."""
    uploaded = suite.upload("/v1/files", plan.dataset, {"purpose": "fine-tune", "format": plan.format})
    settings = dict(plan.hyperparameters)
    seed = settings.pop("seed")
    body = {
        "model": plan.base,
        "training_file": uploaded["id"],
        "adapter": plan.name,
        "seed": seed,
        # Every question of the data set is asked afterwards, so none is held out.
        "validation_fraction": 0,
        "method": {"type": "supervised", "supervised": {"hyperparameters": settings}},
    }
    return str(suite.post("/v1/fine_tuning/jobs", body)["id"])


def score(suite: Suite, plan: Plan) -> tuple[Score, Table]:
    """Ask base and adapter every question of the data set; some answers come back side by side."""
    exact = {plan.base: 0, plan.name: 0}
    table = Table("question", f"{plan.base} alone", f"{plan.name}", title=f"{plan.name} on {plan.base}", expand=True)
    questions = plan.questions()
    for number, (question, answer) in enumerate(questions):
        given = {model: ask(suite, model, question, plan) for model in exact}
        for model, text in given.items():
            exact[model] += text == answer
        if number % (len(questions) // SHOWN_ANSWERS) == 0:
            table.add_row(question, given[plan.base], given[plan.name])
    return Score(exact[plan.name], exact[plan.base], len(questions)), table


def show(exam: tuple[Score, Table]) -> Score:
    """Print the answers of an exam; gives its score."""
    result, table = exam
    console.print(table)
    return result


def ask(suite: Suite, model: str, question: str, plan: Plan) -> str:
    """One greedy answer, by chat or, where the data set has plain prompts, by completion."""
    settings = {"model": model, "temperature": 0, "max_tokens": LONGEST_ANSWER}
    if plan.format == "prompt_completion":
        return str(suite.post("/v1/completions", {**settings, "prompt": question})["choices"][0]["text"])
    messages = [{"role": "user", "content": question}]
    answer = suite.post("/v1/chat/completions", {**settings, "messages": messages})
    return str(answer["choices"][0]["message"]["content"])


async def try_wrong_pairs(target: str, key: str | None, plans: list[Plan]) -> int:
    """Ask inference for every adapter on every base that is not its own; gives how many were refused rightly."""
    refused = 0
    credentials = KeyCredentials(SecretStr(key)) if key else None
    async with open_channel(target, credentials=credentials) as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        for plan in plans:
            for base in {other.base for other in plans} - {plan.base}:
                model = f"projects/default/adapters/{plan.name}"
                request = inference_pb2.LoadModelRequest(model=model, base_model=f"baseModels/{base}")
                try:
                    await stub.LoadModel(request)
                except DomainError as error:
                    refused += error.reason is Reason.ADAPTER_BASE_MISMATCH
                    console.print(f"{plan.name} on {base}: [bold]{error.code.name}[/bold] {error.reason}")
                    if refused == 1:
                        console.print(error.message, markup=False)
                else:
                    console.print(f"{plan.name} on {base}: [red]loaded[/red]")
    return refused


def report(scores: dict[str, Score], refused: int, pairs: int) -> bool:
    """Print what was reached; whether it is what was promised."""
    for name, result in scores.items():
        console.print(f"{name}: {result.adapter} of {result.questions} exact; its base alone {result.base}")
    console.print(f"wrong pairs refused: {refused} of {pairs}")
    return refused == pairs and all(result.good for result in scores.values())


if __name__ == "__main__":
    os.environ.pop("TENON_URL", None)
    sys.exit(main())
