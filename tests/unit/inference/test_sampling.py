"""Picking tokens: the distribution that transformers computes, picks that repeat, rows that do not disturb each other."""

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from services.common.errors import DomainError, Reason
from services.inference.engine.protocol import Sampling, TokenConstraint
from services.inference.engine.sampling import Picked, RowPicker, pick
from services.inference.engine.sampling.choose import choose
from services.inference.engine.sampling.weights import token_weights

VOCABULARY = 500
GREEDY = Sampling()
SAMPLINGS = st.builds(
    Sampling,
    temperature=st.floats(0.05, 2),
    top_p=st.sampled_from([1.0, 0.999, 0.95, 0.5, 0.01]),
    top_k=st.sampled_from([0, 1, 5, 63, 64, 65, 200, VOCABULARY, 1000]),
    min_p=st.sampled_from([0.0, 0.001, 0.1, 1.0]),
)


def random_logits(rows: int, *, seed: int = 0, scale: float = 3.0, vocabulary: int = VOCABULARY) -> torch.Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * scale


def picker(
    sampling: Sampling = GREEDY,
    prompt: tuple[int, ...] = (),
    stop: frozenset[int] = frozenset(),
    constraint: TokenConstraint | None = None,
) -> RowPicker:
    return RowPicker(sampling, prompt, VOCABULARY, stop, constraint)


def tokens(logits: torch.Tensor, rows: list[RowPicker]) -> list[int]:
    picks = pick(logits.clone(), rows)
    assert all(isinstance(picked, Picked) for picked in picks), picks
    return [picked.token_id for picked in picks if isinstance(picked, Picked)]


def expected(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Probabilities by transformers' own warpers, in its order."""
    warpers = LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature)])
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        warpers.append(MinPLogitsWarper(sampling.min_p))
    scores = warpers(torch.LongTensor(1, 0), logits[None].double())
    return torch.as_tensor(scores).softmax(-1)[0]


@given(
    seed=st.integers(0, 1000),
    scale=st.sampled_from([0.1, 1.0, 8.0]),
    samplings=st.lists(SAMPLINGS, min_size=1, max_size=4),
)
def test_every_row_gets_the_distribution_of_transformers(seed: int, scale: float, samplings: list[Sampling]) -> None:
    logits = random_logits(len(samplings), seed=seed, scale=scale)
    weights = token_weights(logits.clone(), samplings).double()
    for row, sampling in enumerate(samplings):
        ours, theirs = weights[row] / weights[row].sum(), expected(logits[row], sampling)
        # What lies on a boundary of top_p within rounding may be kept by one and dropped by the other.
        apart = (ours - theirs).abs()
        assert apart.max() < 1e-5 or int(((ours > 0) != (theirs > 0)).sum()) == 1, sampling


@pytest.mark.parametrize("scale", [0.01, 0.5, 3.0])
@pytest.mark.parametrize(
    "sampling",
    [Sampling(1.0, 0.95), Sampling(1.0, 0.9999), Sampling(0.7, 0.9, 1000), Sampling(1.0, top_k=5000)],
    ids=["p", "most", "both", "k"],
)
def test_large_nuclei_are_those_of_a_full_sort(scale: float, sampling: Sampling) -> None:
    logits = random_logits(2, scale=scale, vocabulary=20_000)
    weights = token_weights(logits.clone(), [sampling, sampling]).double()
    theirs = expected(logits[1], sampling)
    assert abs(int((weights[1] > 0).sum()) - int((theirs > 0).sum())) <= 2
    torch.testing.assert_close(weights[1] / weights[1].sum(), theirs, atol=1e-6, rtol=1e-3)


def test_tokens_of_one_weight_are_kept_together() -> None:
    logits = torch.tensor([[0.0, 2.0, 2.0, 2.0, 1.0]])
    kept = [
        token_weights(logits.clone(), [sampling])[0].nonzero().flatten().tolist()
        for sampling in (Sampling(1.0, top_k=2), Sampling(1.0, 0.3), Sampling(1.0, top_k=4))
    ]
    assert kept == [[1, 2, 3], [1, 2, 3], [1, 2, 3, 4]]


def test_rows_that_count_on_tokens_of_no_weight_keep_what_there_is() -> None:
    logits = torch.full((1, VOCABULARY), -torch.inf)
    logits[0, [3, 7]] = torch.tensor([1.0, 2.0])
    assert token_weights(logits, [Sampling(1.0, 0.99, 100)])[0].nonzero().flatten().tolist() == [3, 7]


@given(seed=st.integers(0, 1000), draw=st.floats(0, 1, exclude_max=True), vocabulary=st.sampled_from([1, 63, 64, 500]))
def test_a_draw_chooses_where_the_cumulative_distribution_exceeds_it(seed: int, draw: float, vocabulary: int) -> None:
    weights = random_logits(2, seed=seed, vocabulary=vocabulary).clamp(min=0)
    weights[:, seed % vocabulary] = 1.0
    chosen = choose(weights, torch.tensor([draw, draw], dtype=torch.float64)).tolist()
    for row, token in enumerate(chosen):
        bounds = np.cumsum(weights[row].double().numpy()) / float(weights[row].double().sum())
        assert weights[row, token] > 0
        assert (bounds[token - 1] if token else 0) - 1e-6 <= draw <= bounds[token] + 1e-6


def test_temperature_zero_picks_the_likeliest() -> None:
    logits = random_logits(3)
    assert tokens(logits, [picker(), picker(), picker()]) == logits.argmax(-1).tolist()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_every_floating_type_will_do(dtype: torch.dtype) -> None:
    logits = random_logits(2).to(dtype)
    assert tokens(logits, [picker(), picker(Sampling(0.1, top_k=1))])[0] == int(logits[0].argmax())


@pytest.mark.parametrize("temperature", [1e-300, 5e-324])
def test_tiny_temperatures_pick_the_likeliest_too(temperature: float) -> None:
    logits = torch.tensor([[0.1, 3.0, -1.0, -torch.inf]])
    assert tokens(logits, [picker(Sampling(temperature, seed=1))]) == [1]


def test_picks_follow_the_distribution_and_repeat_with_the_seed() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    first, second = picker(Sampling(1.0, seed=7)), picker(Sampling(1.0, seed=7))
    picks = [tokens(logits, [first])[0] for _ in range(2000)]
    assert picks[:100] == [tokens(logits, [second])[0] for _ in range(100)]
    shares = torch.tensor([Counter(picks)[token] / 2000 for token in range(3)])
    assert torch.allclose(shares, logits[0].softmax(-1), atol=0.04)


def test_without_a_seed_every_generation_draws_its_own() -> None:
    logits = torch.zeros(2, VOCABULARY)
    rows = [picker(Sampling(1.0)), picker(Sampling(1.0))]
    steps = [tokens(logits, rows) for _ in range(8)]
    assert [step[0] for step in steps] != [step[1] for step in steps]


MIXED = (
    Sampling(),
    Sampling(0.8, seed=1),
    Sampling(0.8, 0.9, 40, seed=2),
    Sampling(1.5, 0.99, seed=3, repetition_penalty=1.2),
    Sampling(repetition_penalty=1.3, presence_penalty=0.5),
    Sampling(1.0, min_p=0.05, seed=-4, logprobs=3),
    Sampling(1.0, top_k=100, seed=5, frequency_penalty=0.7, logit_bias={3: 2.0}),
    Sampling(logprobs=0),
)


def generation(sampling: Sampling, index: int, company: tuple[Sampling, ...], steps: int) -> list[int]:
    """The tokens of one row, whose logits depend on the row and the step alone, among others."""
    rows = [picker(other, (1, 2)) for other in company]
    rows.insert(index % (len(company) + 1), picker(sampling, (1, 2)))
    place, answer = index % (len(company) + 1), []
    for step in range(steps):
        logits = random_logits(len(rows), seed=1000 + step)
        logits[place] = random_logits(1, seed=step)[0]
        answer.append(tokens(logits, rows)[place])
    return answer


@pytest.mark.parametrize("index", range(len(MIXED)))
def test_the_company_changes_nothing(index: int) -> None:
    alone = generation(MIXED[index], 0, (), 12)
    assert generation(MIXED[index], index, MIXED, 12) == alone
    assert generation(MIXED[index], 2 * index, MIXED[::-1] * 2, 12) == alone


@given(
    seed=st.integers(0, 1000),
    prompt=st.lists(st.integers(0, VOCABULARY - 1), max_size=30),
    penalty=st.sampled_from([0.5, 1.0, 1.3]),
    presence=st.sampled_from([0.0, -1.0, 1.5]),
    frequency=st.sampled_from([0.0, 0.25]),
    bias=st.dictionaries(st.integers(0, VOCABULARY - 1), st.sampled_from([-100.0, 3.0]), max_size=4),
)
def test_penalties_and_biases_are_those_that_are_documented(
    seed: int, prompt: list[int], penalty: float, presence: float, frequency: float, bias: dict[int, float]
) -> None:
    sampling = Sampling(
        repetition_penalty=penalty, presence_penalty=presence, frequency_penalty=frequency, logit_bias=bias
    )
    rows = [picker(sampling, tuple(prompt)), picker(Sampling(repetition_penalty=1.1), (5,)), picker()]
    answer: list[int] = []
    for step in range(6):
        logits = random_logits(3, seed=seed + step, scale=0.5)
        scores = logits[:1].double()
        if penalty != 1 and (prompt or answer):
            scores = torch.as_tensor(
                RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([[*prompt, *answer]]), scores)
            )
        for token, count in Counter(answer).items():
            scores[0, token] -= presence + frequency * count
        for token, value in bias.items():
            scores[0, token] += value
        answer.append(tokens(logits, rows)[0])
        assert scores[0, answer[-1]] >= scores.max() - 1e-5


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(1.0, seed=1)], ids=["greedy", "sampled"])
@pytest.mark.parametrize("penalty", [1e-40, 5e-324])
def test_tiny_penalties_leave_numbers_that_can_be_computed_with(penalty: float, sampling: Sampling) -> None:
    row = picker(replace(sampling, repetition_penalty=penalty), (3, 4, 5))
    logits = torch.full((1, VOCABULARY), -1.0)
    logits[0, 4], logits[0, 5], logits[0, 9] = 0.0, 2.0, 7.0
    assert tokens(logits, [row]) == [5]  # repeated at any price


def test_a_penalty_ignores_tokens_that_have_no_logit() -> None:
    sampling = Sampling(repetition_penalty=2.0, logit_bias={VOCABULARY + 5: 100.0, 4: 100.0})
    assert tokens(torch.zeros(1, VOCABULARY), [picker(sampling, (VOCABULARY + 1, 4))]) == [4]


def test_logprobs_are_the_models_own() -> None:
    logits = random_logits(3)
    sampling = Sampling(1.0, seed=3, logit_bias={9: 100.0}, logprobs=2)
    picks = pick(logits.clone(), [picker(sampling), picker(), picker(Sampling(logprobs=0))])
    raw = logits.double().log_softmax(-1)
    first, second, third = (picked for picked in picks if isinstance(picked, Picked))
    assert first.token_id == 9
    assert first.logprobs is not None
    assert first.logprobs.picked == pytest.approx(float(raw[0, 9]), abs=1e-5)
    assert [token for token, _ in first.logprobs.top] == raw[0].topk(2).indices.tolist()
    assert [value for _, value in first.logprobs.top] == pytest.approx(raw[0].topk(2).values.tolist(), abs=1e-5)
    assert second.logprobs is None
    assert third.logprobs is not None
    assert third.logprobs.top == ()


@dataclass
class Only:
    """Allows these tokens at each step."""

    allowed: list[list[int]]
    accepted: list[int] = field(default_factory=list)
    fails: str = ""

    def allow(self, mask: torch.Tensor) -> None:
        if self.fails == "allow":
            raise RuntimeError("no more fuel")
        bits = np.zeros(32 * len(mask), dtype=np.uint8)
        bits[self.allowed[len(self.accepted)]] = 1
        mask.copy_(torch.from_numpy(np.packbits(bits, bitorder="little").view(np.int32)))

    def accept(self, token_id: int) -> None:
        if self.fails == "accept":
            raise DomainError(Reason.LIMIT_EXCEEDED, "Too much.")
        self.accepted.append(token_id)

    @property
    def done(self) -> bool:
        return len(self.accepted) == len(self.allowed)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(1.0, 0.9, 20, seed=1)], ids=["greedy", "sampled"])
def test_only_tokens_that_the_constraint_allows_are_picked(sampling: Sampling) -> None:
    constraint = Only([[31, 32], [VOCABULARY - 1], [0, 63]])
    row, other = picker(sampling, constraint=constraint), picker()
    for step in range(3):
        logits = random_logits(2, seed=step)
        assert not row.ended
        assert tokens(logits, [row, other])[1] == int(logits[1].argmax())
    assert all(token in allowed for token, allowed in zip(constraint.accepted, constraint.allowed, strict=True))
    assert row.ended
    assert (row.position, other.ended) == (3, False)


def test_a_stop_token_ends_the_row_and_is_not_the_constraints() -> None:
    constraint = Only([[7], [1]])
    row = picker(stop=frozenset([7]), constraint=constraint)
    assert tokens(random_logits(1), [row]) == [7]
    assert row.ended
    assert constraint.accepted == []


def test_a_row_that_fails_harms_no_other() -> None:
    seeded = Sampling(0.9, 0.9, 50, seed=1, logprobs=1)
    rows = [
        picker(),
        picker(seeded),
        RowPicker(seeded, (), VOCABULARY, frozenset(), None, adapter="a" * 64),
        picker(seeded),
        picker(seeded, constraint=Only([[1]], fails="allow")),
        picker(seeded, constraint=Only([[1]], fails="accept")),
        picker(seeded, constraint=Only([[]])),
        picker(seeded, constraint=Only([[5]])),
        picker(replace(seeded, temperature=0.0)),
    ]
    logits = random_logits(len(rows))
    logits[1, 5] = torch.nan
    logits[2, 5] = torch.inf
    logits[3] = -torch.inf
    picks = pick(logits.clone(), rows)
    reasons = [picked.reason if isinstance(picked, DomainError) else None for picked in picks]
    assert reasons == [
        None,
        Reason.INTERNAL,
        Reason.ADAPTER_INVALID,
        Reason.INTERNAL,
        Reason.INTERNAL,
        Reason.LIMIT_EXCEEDED,
        Reason.INVALID_ARGUMENT,
        None,
        None,
    ]
    picked = [picks[0], picks[7], picks[8]]
    assert [pick.token_id for pick in picked if isinstance(pick, Picked)] == [
        int(logits[0].argmax()),
        5,
        int(logits[8].argmax()),
    ]
