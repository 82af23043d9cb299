import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.admission.config import parse_config
from services.common.admission.expressions import compile_expression
from services.common.admission.targets import Matcher
from services.common.errors import DomainError, Reason
from tests.unit.admission.test_config import configured

NAMES = tuple(f"model.layers.{layer}.self_attn.{side}_proj" for layer in range(80) for side in "qkvo")


@pytest.mark.parametrize(
    "expression",
    [
        r".*\.(q_proj|v_proj)",
        r"model\.layers\.\d+\.self_attn\.[qkvo]_proj",
        r"^(?!.*vision_tower)(?=.*layers).*\.(?:self_attn|mlp)\.(?:[qkvo]_proj|(?:gate|up|down)_proj)$",
        r"(?:.*\.)?lm_head",
        r".*layers\.(1[0-9]|2[0-3])\..*proj",
        r".*\.\d{1,2}\.mlp\..*",
    ],
)
def test_what_people_write_is_admitted(expression: str) -> None:
    matcher = Matcher(parse_config(configured(target_modules=expression)))

    matcher.check_work(NAMES)


@pytest.mark.parametrize(
    "expression",
    [
        "(a*)*b",
        "(a+)+b",
        "(a|a)*b",
        "(a*b?)*c",
        "(.*.?)*x",
        "(?:.*.*)*",
        "((a)*)",
        "(a*){20}",
        "(?x)(a*) *b",
        "(?i)q_proj",
        "(?>a*)",
        ".*.*.*.*.*.*x",
        "a?" * 30 + "a" * 30,
        "[[a]",
        "[a--b]",
        "a" * 2000,
        "(" * 600 + ")" * 600,
    ],
    ids=lambda text: text[:20],
)
def test_what_could_backtrack_without_bound_is_refused(expression: str) -> None:
    with pytest.raises(DomainError) as caught:
        parse_config(configured(target_modules=expression))

    assert caught.value.reason in {Reason.ADAPTER_NOT_SUPPORTED, Reason.ADAPTER_CONFIG_INVALID}


@pytest.mark.parametrize("expression", ["(a|a)" * 40 + "b", r".*.*.*.*.*x", "m?o?d?e?l?.?.?.*.*.*x"])
def test_work_over_all_modules_is_bounded(expression: str) -> None:
    matcher = Matcher(parse_config(configured(target_modules=expression)))

    with pytest.raises(DomainError) as caught:
        matcher.check_work(NAMES)

    assert caught.value.reason is Reason.LIMIT_EXCEEDED


def test_a_pattern_for_every_module_is_no_work() -> None:
    matcher = Matcher(parse_config(configured(rank_pattern=dict.fromkeys(NAMES, 4))))

    matcher.check_work(NAMES)
    start = time.perf_counter()
    ranks = {matcher.rank(name) for name in NAMES}

    assert ranks == {4}
    assert time.perf_counter() - start < 5


@settings(max_examples=400, deadline=2000)
@given(st.text(alphabet="ab.*+?|(){}[]^$\\d1,-:=!<>P&~", max_size=24), st.text(alphabet="ab.1", max_size=24))
def test_no_admitted_expression_takes_long(expression: str, name: str) -> None:
    try:
        compiled = compile_expression(expression)
    except DomainError:
        return
    if compiled.steps(len(name)) <= 1_000_000:
        compiled.pattern.fullmatch(name)
