"""Whatever the bytes are, a reader answers with a value or with a reason it names: no crash, no hang, no great hunger."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.hostile.examination import ACCEPTED, examine, explore
from tests.unit.hostile.mutations import mutate
from tests.unit.hostile.readers import READERS

PROOF_SECONDS = 30.0


@pytest.mark.parametrize("name", READERS)
def test_the_first_seed_is_accepted(name: str) -> None:
    assert examine(READERS[name], READERS[name].seeds[0]) == ACCEPTED


@pytest.mark.parametrize("name", READERS)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_damaged_documents(name: str, seed: int) -> None:
    random, seeds = Random(seed), READERS[name].seeds
    examine(READERS[name], mutate(random.choice(seeds), random, seeds))


@pytest.mark.parametrize("name", READERS)
@given(data=st.binary(max_size=200))
@settings(max_examples=30, deadline=None)
def test_any_bytes(name: str, data: bytes) -> None:
    examine(READERS[name], data)


@pytest.mark.proof
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", READERS)
def test_damaged_documents_for_a_long_time(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    tried, places = explore(READERS[name], seed=0, seconds=PROOF_SECONDS)
    with capsys.disabled():
        print(f"\n{name}: {tried} documents, refused in {places} places")
    assert tried > 1000
