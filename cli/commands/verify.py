"""``tenon verify``: whether an adapter's directory may be served on a base, without a suite."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from cli.keys import trusted_keys
from cli.local_base import PATH, base_label, fingerprint_of, open_local_base, rehash_option
from cli.output import EXIT_REFUSED, EXIT_UNUSABLE, json_option, print_json, printable, readers_may_leave
from services.common.admission.pipeline import CHECKS, UNDECLARED, Check, Outcome, Report, Verdict, verify_adapter
from services.common.errors import DomainError

EXITS: Final = {Verdict.ADMISSIBLE: 0, Verdict.REFUSED: EXIT_REFUSED, Verdict.UNUSABLE: EXIT_UNUSABLE}
MARKS: Final = {Outcome.PASS: "ok", Outcome.FAIL: "FAILED", Outcome.SKIPPED: "–"}


@click.command()
@click.argument("directory", metavar="ADAPTER_DIR", type=PATH)
@click.option("--base", metavar="BASE_DIR", type=PATH, required=True, help="Base to serve it on.")
@click.option(
    "--trust",
    metavar="PEM",
    type=PATH,
    multiple=True,
    help="A key to believe, beside your own and those of the suite on this machine: a PEM file, or a directory of "
    "*.pem. May be repeated.",
)
@click.option("--allow-undeclared", is_flag=True, help="Judge an adapter without a manifest by everything else.")
@rehash_option
@json_option
@click.pass_obj
def verify(
    data_dir: Path | None,
    *,
    directory: Path,
    base: Path,
    trust: Sequence[Path],
    allow_undeclared: bool,
    rehash: bool,
    as_json: bool,
) -> None:
    """Say whether the adapter in ADAPTER_DIR belongs to the base in BASE_DIR, is whole, unaltered, and does something.

    Needs no running suite. Exit status: 0 admissible, 3 refused, 2 unusable input.
    """
    report = _examine(directory, base, trusted=(data_dir, trust), allow_undeclared=allow_undeclared, rehash=rehash)
    with readers_may_leave():
        print_json(to_json(report)) if as_json else _print(report)
    raise SystemExit(EXITS[report.verdict])


def _examine(
    directory: Path,
    base: Path,
    *,
    trusted: tuple[Path | None, Sequence[Path]],
    allow_undeclared: bool,
    rehash: bool,
) -> Report:
    try:
        keys = trusted_keys(*trusted)
    except DomainError as error:
        return _unusable("signature", error)
    try:
        # Before the adapter is looked at: a path mistyped is no fault of the adapter's.
        opened = open_local_base(base)
    except DomainError as error:
        return _unusable("base", error)
    with opened:
        return verify_adapter(
            directory,
            lambda: fingerprint_of(opened, rehash=rehash),
            keys,
            base_name=base_label(base),
            allow_undeclared=allow_undeclared,
        )


def _unusable(name: str, error: DomainError) -> Report:
    """Nothing was checked, because of what one of the checks would need."""
    checks = (
        Check(name, Outcome.FAIL, error.message) if check == name else Check(check, Outcome.SKIPPED, f"{name} failed")
        for check in CHECKS
    )
    return Report(Verdict.UNUSABLE, error.reason, UNDECLARED, tuple(checks), (), error.message, metadata=error.metadata)


def to_json(report: Report) -> dict[str, Any]:
    """A report as ``--json`` prints it."""
    return {
        "verdict": report.verdict.value,
        "reason": report.reason.value if report.reason else None,
        "message": report.sentence,
        "provenance": _provenance(report),
        "version": report.version,
        "base": report.base_id,
        "checks": [{"name": c.name, "outcome": c.outcome.value, "detail": c.detail} for c in report.checks],
        "differences": [
            {"kind": d.kind.value, "subject": d.subject, "expected": d.expected, "actual": d.actual}
            for d in report.differences
        ],
    }


def _provenance(report: Report) -> str | None:
    """``undeclared`` only of an adapter that was found to have no manifest; None where nobody looked."""
    files = report.checks[0]
    return report.provenance if files.outcome is Outcome.PASS else None


def _print(report: Report) -> None:
    if report.verdict is Verdict.UNUSABLE:
        click.echo(f"Error: {printable(report.sentence)}", err=True)
        return
    told = True
    for check in report.checks:
        # Why it failed is said below, at length; after that nothing else was looked at.
        told = told and check.outcome is not Outcome.FAIL
        click.echo(printable(f"{MARKS[check.outcome]:<8}{check.name:<11}{check.detail if told else ''}".rstrip()))
    reason = f" ({report.reason})" if report.reason else ""
    click.echo(f"\n{report.verdict}{reason}\n{printable(report.sentence)}")
