"""Names by their ends: what matches, and what counts where several patterns do."""

import pytest

from services.common.errors import DomainError, Reason
from services.trainer.recipe.model.patterns import assign, matches, without_match

NAMES = [f"model.layers.{layer}.self_attn.{name}" for layer in (0, 1, 11) for name in ("q_proj", "v_proj")]


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("q_proj", "model.layers.0.self_attn.q_proj", True),
        ("self_attn.q_proj", "model.layers.0.self_attn.q_proj", True),
        ("layers.1.*.q_proj", "model.layers.1.self_attn.q_proj", True),
        ("layers.1.*.q_proj", "model.layers.11.self_attn.q_proj", False),
        ("layers.1*.*.q_proj", "model.layers.11.self_attn.q_proj", True),
        ("*", "lm_head", True),
        ("proj", "model.layers.0.self_attn.q_proj", False),
        ("model.lm_head", "lm_head", False),
        ("*.q_proj", "q_proj", False),
        ("q.proj", "model.q_proj", False),
    ],
)
def test_the_end_of_a_name_is_matched_part_by_part(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) is expected


def test_patterns_that_match_nothing_are_named() -> None:
    assert without_match(["q_proj", "k_proj", "layers.2.*.*"], NAMES) == ["k_proj", "layers.2.*.*"]


def test_the_most_specific_pattern_counts_whatever_their_order() -> None:
    values = {"q_proj": 4, "layers.0.*.q_proj": 32, "layers.*.*.q_proj": 8, "*.v_proj": 2}
    given = assign(values, NAMES, "rank_pattern")
    assert given == assign(dict(reversed(values.items())), NAMES, "rank_pattern")
    assert [given[name] for name in NAMES] == [32, 2, 8, 2, 8, 2]
    assert assign({"q_proj": 4}, NAMES, "rank_pattern").keys() == {name for name in NAMES if "q_proj" in name}


def test_two_that_disagree_and_are_as_specific_are_refused() -> None:
    with pytest.raises(DomainError, match=r"q_\* and \*_proj both match model.layers.0.self_attn.q_proj") as caught:
        assign({"q_*": 4, "*_proj": 8}, NAMES, "hyperparameters.rank_pattern")
    assert caught.value.reason is Reason.INVALID_ARGUMENT
    assert caught.value.violations[0].field == "hyperparameters.rank_pattern"
    assert len(assign({"q_*": 4, "*_proj": 4}, NAMES, "rank_pattern")) == len(NAMES)
