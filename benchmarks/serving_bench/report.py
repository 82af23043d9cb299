"""What was found, for people and for programs."""

from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.serving_bench.results import Findings, Result, rounded

MARKS: Final = {True: "met", False: "MISSED", None: "–"}
WIDTH: Final = 160
THROUGHPUT: Final = "ABCDE"
"""Scenarios whose figures have a table of their own."""


def as_json(machine: dict[str, Any], setup: dict[str, Any], findings: Findings) -> dict[str, Any]:
    """One document."""
    judged = [result for result in findings.results if result.met is not None]
    return {
        "machine": machine,
        "setup": setup,
        "contestants": findings.contestants,
        "targets": {"met": sum(bool(result.met) for result in judged), "of": len(judged)},
        "scenarios": [result.to_json() for result in findings.results],
        "throughput": {name: rounded(value) for name, value in findings.throughput.items()},
        "notes": findings.notes,
    }


def print_tables(machine: dict[str, Any], setup: dict[str, Any], findings: Findings) -> None:
    """Tables."""
    console = Console(width=WIDTH)
    for facts in (machine, setup):
        console.print(", ".join(f"{name} {value}" for name, value in facts.items()), highlight=False, markup=False)
    console.print(_targets(findings.results))
    for result in findings.results:
        if result.raw and result.scenario not in THROUGHPUT:
            made_of = ", ".join(f"{name} {rounded(value):g}" for name, value in result.raw.items())
            console.print(f"{result.scenario}: {made_of}", highlight=False, markup=False)
    if findings.throughput:
        console.print(_throughput(findings))
    for note in findings.notes:
        console.print(note, highlight=False, markup=False)
    judged = [result for result in findings.results if result.met is not None]
    console.print(f"targets met: {sum(bool(result.met) for result in judged)} of {len(judged)}")


def _targets(results: list[Result]) -> Table:
    table = Table("", "what", "median", "min – max", "target", "", title="Targets")
    for result in results:
        low, high = rounded(min(result.values)), rounded(max(result.values))
        table.add_row(
            result.scenario,
            result.what,
            f"{rounded(result.value):g} {result.unit}",
            f"{low:g} – {high:g}",
            str(result.target or ""),
            MARKS[result.met],
        )
    return table


def _throughput(findings: Findings) -> Table:
    table = Table("what", "tok/s", title="Throughput, medians")
    for name, value in findings.throughput.items():
        table.add_row(name, f"{rounded(value):g}")
    return table
