"""Every wrong pair is refused for its own reason, offline and in service; no right pair is. Writes the page that says so."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from tokenizers import Tokenizer

from services.common.admission.pipeline import Outcome, Report, Verdict, verify_adapter
from services.common.errors import Reason
from services.common.identity import fingerprint_base
from tests.contract.inference.samples import expected_logits, expected_tokens
from tests.matrix.keys import TRUST
from tests.matrix.page import RightRow, WrongRow, page
from tests.matrix.pair import Pair
from tests.matrix.peft_alone import load_with_peft
from tests.matrix.platform import Platform
from tests.matrix.right import RIGHT, Right
from tests.matrix.samples import Samples, slug
from tests.matrix.wrong import Wrong
from tests.matrix.wrong_adapters import WRONG_ADAPTERS
from tests.matrix.wrong_bases import WRONG_BASES
from tests.matrix.wrong_papers import WRONG_PAPERS

WRONG: Final[Sequence[Wrong]] = (*WRONG_BASES, *WRONG_ADAPTERS, *WRONG_PAPERS)
PROMPT: Final = [40, 50, 60, 70, 80]
TEXT: Final = "hello"
PAGE: Final = "docs/admission-matrix.md"
TOLERANCE: Final = 1e-4
WRONG_IDS: Final = [slug(case.name, case.architecture) for case in WRONG]
RIGHT_IDS: Final = [slug(case.name, case.architecture) for case in RIGHT]


class Rows:
    """What the page will say."""

    def __init__(self) -> None:
        self.wrong: dict[str, WrongRow] = {}
        self.right: dict[str, RightRow] = {}


@pytest.fixture(scope="module")
def rows() -> Rows:
    return Rows()


def test_every_row_has_a_name_of_its_own() -> None:
    assert len(set(WRONG_IDS)) == len(WRONG_IDS) >= 60
    assert len(set(RIGHT_IDS)) == len(RIGHT_IDS) >= 20


@pytest.mark.parametrize("case", WRONG, ids=WRONG_IDS)
async def test_a_wrong_pair_is_refused(
    case: Wrong, samples: Samples, running: Platform, rows: Rows, root: Path
) -> None:
    name = slug(case.name, case.architecture)
    pair = Pair(root / "pairs" / name, samples, case.architecture, on=case.on, **case.settings)
    case.do(pair)
    if not pair.sealed:
        pair.seal()

    check_offline(judge(pair), case)
    if case.served is not None:
        await check_service(running, pair, case, f"wrong-{WRONG_IDS.index(name)}")
    found = load_with_peft(pair.base, pair.adapter) if case.peft else ""
    reason = f"{case.reason} ({case.verdict})" if case.verdict else str(case.reason)
    rows.wrong[name] = WrongRow(
        case.name, case.architecture, case.step or "", reason if case.step else "", str(case.served or ""), found
    )


@pytest.mark.parametrize("case", RIGHT, ids=RIGHT_IDS)
async def test_a_right_pair_is_served_as_peft_would(
    case: Right, samples: Samples, running: Platform, rows: Rows, root: Path
) -> None:
    name = slug(case.name, case.architecture)
    pair = Pair(root / "pairs" / f"right-{name}", samples, case.architecture, on={}, **case.settings)
    case.do(pair)
    if not pair.sealed:
        pair.seal()

    report = judge(pair)
    assert report.verdict is (Verdict.REFUSED if case.derived else Verdict.ADMISSIBLE), report.sentence
    number = RIGHT_IDS.index(name)
    base = await running.add_base(f"baseModels/right-{number}", pair.base, derived_from=pair.trained_on.id)
    version = await running.publish(pair, f"right-{number}")
    suite = await running.suite(pair)
    answer = await suite.ask(version, base_model=base)
    assert answer.identity.adapter_version == version
    logits = await running.logits(PROMPT, version)
    assert logits is not None
    expected = expected_logits(pair.base, pair.adapter, PROMPT)
    assert (logits - expected).abs().max() <= TOLERANCE
    assert (expected - expected_logits(pair.base, None, PROMPT)).abs().max() > 100 * TOLERANCE
    rows.right[name] = RightRow(case.name, case.architecture)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
async def test_after_all_that_a_base_answers_as_by_itself(
    architecture: str, samples: Samples, running: Platform, root: Path
) -> None:
    pair = Pair(root / "pairs" / f"last-{architecture}", samples, architecture, on={})
    name = await running.add_base(pair.base_model, pair.base)
    answer = await (await running.suite(pair)).ask(name, TEXT)
    tokenizer = Tokenizer.from_file(str(pair.base / "tokenizer.json"))
    tokens = expected_tokens(pair.base, None, tokenizer.encode(TEXT).ids, answer.usage.completion_tokens)
    assert answer.text == tokenizer.decode(tokens)


def test_the_page_says_what_was_found(rows: Rows, project_root: Path) -> None:
    if len(rows.wrong) < len(WRONG) or len(rows.right) < len(RIGHT):
        pytest.skip("only some of the pairs were tried, or not all as expected")
    path = project_root / PAGE
    found = page([rows.wrong[name] for name in WRONG_IDS], [rows.right[name] for name in RIGHT_IDS])
    if not path.exists() or path.read_text(encoding="utf-8") != found:
        path.write_text(found, encoding="utf-8")
        pytest.fail(f"{PAGE} was out of date and has been written again; commit it")


def judge(pair: Pair) -> Report:
    return verify_adapter(
        pair.adapter, lambda: fingerprint_base(pair.base, threads=1), TRUST, base_name="the base at hand"
    )


def check_offline(report: Report, case: Wrong) -> None:
    failed = [check.name for check in report.checks if check.outcome is Outcome.FAIL]
    assert (failed, report.reason) == ([case.step] if case.step else [], case.reason), report.sentence
    if case.step is None:
        assert report.verdict is Verdict.ADMISSIBLE
        return
    assert report.verdict is (Verdict.UNUSABLE if case.unusable else Verdict.REFUSED)
    assert (report.differences[0].kind if report.differences else None) == case.verdict
    assert len(report.sentence) > 40


async def check_service(running: Platform, pair: Pair, case: Wrong, project: str) -> None:
    """Ask for the pair; where the base is at fault, also with the wrong base's files in the place of the right one's."""
    suite = await running.suite(pair)
    version = await running.publish(pair, project)
    base = pair.base_model
    if pair.base != pair.original:
        behind = await running.add_base(f"baseModels/{project}-behind", pair.base, pair.trained_on)
        reason = case.served if case.unusable else Reason.BASE_FINGERPRINT_MISMATCH
        assert (await suite.refusal(version, base_model=behind)).reason is reason
        if not case.unusable:
            derived_from = pair.trained_on.id if pair.around.derivatives else None
            base = await running.add_base(f"baseModels/{project}", pair.base, derived_from=derived_from)
    if pair.around.afterwards:
        assert (await suite.ask(version, base_model=base)).identity.adapter_version == version
        await {"revoke": running.revoke, "withdraw": running.withdraw}[pair.around.afterwards](version)
    if not case.unusable:
        error = await suite.refusal(version, base_model=base)
        assert error.reason is case.served, error.message
        assert len(error.message) > 40
    if not pair.around.afterwards:
        assert version not in await suite.loaded()
        assert await running.logits(PROMPT, version) is None
