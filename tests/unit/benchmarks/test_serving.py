from benchmarks.serving_bench.results import Result, Target, quantile
from benchmarks.serving_bench.shapes import LARGE, SMALL
from benchmarks.serving_bench.throughput import PROMPT_LENGTHS, workload


def test_a_figure_is_the_median_and_its_target_has_a_side() -> None:
    values = (0.8, 0.95, 0.91)
    assert Result("A", "share", "x", values, Target(0.9)).met is True
    assert Result("A", "share", "x", values, Target(0.92)).met is False
    assert Result("F", "wait", "ms", (90.0, 170.0, 140.0), Target(150, at_least=False)).met is True
    assert Result("F", "wait", "ms", (160.0,), Target(150, at_least=False)).to_json()["met"] is False
    assert Result("B", "told", "x", values).met is None


def test_a_quantile_is_exceeded_by_no_more_than_its_share() -> None:
    values = [float(value) for value in range(1, 201)]
    assert quantile(values, 0.99) == 198
    assert quantile([3.0], 0.99) == 3
    assert quantile([2.0, 1.0], 0.5) == 1


def test_everybody_gets_the_same_requests_and_every_repeat_others() -> None:
    one, same, other = (workload(5, ["a", "b"], 8192, seed=seed) for seed in ("0", "0", "1"))
    assert one == same
    assert one.prompts != other.prompts
    assert one.adapters == ["a", "b", "a", "b", "a"]
    assert all(PROMPT_LENGTHS[0] <= len(prompt) <= PROMPT_LENGTHS[1] for prompt in one.prompts)
    assert type(one).from_command(one.to_command()) == one


def test_shapes_have_the_size_that_they_are_named_after() -> None:
    assert round(SMALL.parameters / 1e6) == 27
    assert LARGE.parameters == 494_032_768
