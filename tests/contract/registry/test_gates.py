"""Gated aliases: what has learned passes, all else needs a reason, and the reason is kept."""

import pytest

from services.common.errors import DomainError, Reason
from services.common.training_report import TrainingVerdict
from services.registry import aliases
from services.registry.gate import Passage
from services.registry.model import AdapterVersion, Alias
from services.registry.store import RegistryStore
from tests.contract.registry.samples import add_adapter, add_base, add_version, alias_name, move
from tests.support.reports import make_report

WHY = "The customer wants it for a test."
REFUSED = [verdict for verdict in TrainingVerdict if verdict is not TrainingVerdict.LEARNED]


@pytest.fixture
async def learned(store: RegistryStore) -> AdapterVersion:
    await add_base(store)
    await add_adapter(store)
    return await add_version(store, report=make_report())


async def find(store: RegistryStore, alias: str = "production") -> Alias | None:
    async with store.transaction() as transaction:
        return await transaction.find_alias(alias_name(alias))


async def set_gate(store: RegistryStore, gated: bool, reason: str = "") -> Alias:
    async with store.transaction() as transaction:
        passage = Passage(gated, reason)
        return await aliases.set_gate(transaction, alias_name("production"), expected="", passage=passage)


async def refusal(store: RegistryStore, target: AdapterVersion, **options: object) -> DomainError:
    before = await find(store)
    with pytest.raises(DomainError) as raised:
        await move(store, "production", target.name, **options)  # type: ignore[arg-type]  # by name
    assert raised.value.reason is Reason.VERDICT_NOT_ADMITTED
    assert await find(store) == before
    return raised.value


async def test_what_has_learned_passes(store: RegistryStore, learned: AdapterVersion) -> None:
    alias = await move(store, "production", learned.name, gated=True)
    assert (alias.gated, alias.reason, alias.version) == (True, "", learned.name)
    other = await add_version(store, seed=1, report=make_report())
    # A reason that is not needed is not kept.
    moved = await move(store, "production", other.name, reason=WHY)
    assert (moved.gated, moved.reason, moved.version) == (True, "", other.name)
    assert await find(store) == moved


@pytest.mark.parametrize("verdict", REFUSED)
async def test_other_verdicts_need_a_reason(
    store: RegistryStore, learned: AdapterVersion, verdict: TrainingVerdict
) -> None:
    await move(store, "production", learned.name, gated=True)
    other = await add_version(store, seed=1, report=make_report(verdict))
    error = await refusal(store, other)
    assert error.metadata["verdict"] == verdict.value
    assert verdict.value.upper() in error.message
    passed = await move(store, "production", other.name, reason=WHY)
    assert (passed.gated, passed.reason) == (True, WHY)
    again = await move(store, "production", other.name)
    assert again == passed
    back = await move(store, "production", learned.name)
    assert (back.gated, back.reason) == (True, "")


async def test_a_version_without_a_report_needs_a_reason(store: RegistryStore, learned: AdapterVersion) -> None:
    plain = await add_version(store, seed=1)
    assert "no training report" in (await refusal(store, plain, gated=True)).message
    assert (await move(store, "production", plain.name, gated=True, reason=WHY)).reason == WHY


async def test_an_alias_without_a_gate_takes_all(store: RegistryStore, learned: AdapterVersion) -> None:
    plain = await add_version(store, seed=1)
    alias = await move(store, "production", plain.name, reason=WHY)
    assert (alias.gated, alias.reason) == (False, "")


async def test_a_gate_is_set_where_the_alias_points(store: RegistryStore, learned: AdapterVersion) -> None:
    plain = await add_version(store, seed=1)
    await move(store, "production", plain.name)
    with pytest.raises(DomainError) as raised:
        await set_gate(store, True)
    assert raised.value.reason is Reason.VERDICT_NOT_ADMITTED
    assert (await set_gate(store, True, WHY)).gated
    await move(store, "production", learned.name)
    assert await set_gate(store, True) == await find(store)


async def test_a_gate_goes_only_with_a_reason(store: RegistryStore, learned: AdapterVersion) -> None:
    await move(store, "production", learned.name, gated=True)
    with pytest.raises(DomainError) as raised:
        await set_gate(store, False)
    assert raised.value.reason is Reason.VERDICT_NOT_ADMITTED
    alias = await set_gate(store, False, WHY)
    assert (alias.gated, alias.reason) == (False, WHY)


async def test_a_reason_is_a_line(store: RegistryStore, learned: AdapterVersion) -> None:
    plain = await add_version(store, seed=1)
    for reason in ("two\nlines", "x" * 1001):
        with pytest.raises(DomainError) as raised:
            await move(store, "production", plain.name, gated=True, reason=reason)
        assert raised.value.reason is Reason.INVALID_ARGUMENT


async def test_only_an_alias_that_is_there_is_gated(store: RegistryStore, learned: AdapterVersion) -> None:
    with pytest.raises(DomainError) as raised:
        await set_gate(store, True)
    assert raised.value.reason is Reason.ALIAS_NOT_FOUND
