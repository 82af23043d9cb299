"""Expressions of adapter_config.json: RE2 must find what Python's ``re`` finds, or refuse, and soon."""

import dataclasses
import re
import string
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.common.admission import expressions
from services.common.admission.config import parse_config
from services.common.admission.expressions import MAX_CHARACTERS, MAX_MEMORY, Search, compile_expression
from services.common.admission.targets import AROUND_LAYERS, AROUND_PATTERN, AROUND_SAVED, Matcher
from services.common.errors import DomainError, Reason
from tests.unit.admission.test_config import configured

NAMES = (
    *(f"model.layers.{layer}.self_attn.{side}_proj" for layer in (0, 1, 9, 12, 23) for side in "qkvo"),
    *(f"model.language_model.layers.3.mlp.{side}_proj" for side in ("gate", "up", "down")),
    "model.visual.blocks.7.attn.qkv",
    "model.vision_tower.encoder.layers.0.self_attn.q_proj",
    "transformer.h.11.attn.c_attn",
    "gpt_neox.layers.5.attention.query_key_value",
    "model.embed_tokens",
    "lm_head",
)
PARTS = "self_attn|attention|attn|mlp|feed_forward|ffn|dense"
UNSLOTH = (
    rf"(?:.*?(?:language|text).*?(?:{PARTS})"
    r".*?(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj|projection|correction|linear).*?)"
    rf"|(?:\bmodel\.layers\.[\d]{{1,}}\.(?:{PARTS})"
    r"\.(?:(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)))"
)
WRITTEN = (
    UNSLOTH,
    UNSLOTH.replace("language|text", "vision|image|visual|patch|language|text"),
    # PEFT's documentation
    r".*decoder.*(SelfAttention|EncDecAttention).*(q|v)$",
    r".*(q_proj|v_proj)$",
    r"(.*)(?:layers|h)\.(\d+)\.(.*)",
    r"model\.layers\.\d+\.self_attn\.[qkvo]_proj",
    # LLaMA-Factory, for models with a tower
    r"^(?!.*(?:visual|merger|vision_tower)).*(?:q_proj|k_proj|v_proj|qkv).*",
    r"^(?!.*vision_tower)(?=.*layers).*\.(?:self_attn|mlp)\.(?:[qkvo]_proj|(?:gate|up|down)_proj)$",
    r"(?:.*\.)?lm_head",
    r".*layers\.(1[0-9]|2[0-3])\..*proj",
    r".*\.\d{1,2}\.mlp\..*",
    r"\Amodel\b.*\.[^.\d]+\Z",
)
AROUND = pytest.mark.parametrize(
    ("around", "whole"),
    [(str, True), (AROUND_PATTERN, False), (AROUND_SAVED, False), (AROUND_LAYERS, False)],
    ids=["targets", "pattern", "saved", "layers"],
)


def refusal(expression: str, around: Any = str) -> Reason:
    with pytest.raises(DomainError) as caught:
        compile_expression(expression, around)
    return caught.value.reason


def answers(expression: str, names: Any, around: Any, whole: bool) -> tuple[Any, Any]:
    """Names that match and the numbers of their layers, as found here and as PEFT finds them."""
    found = Search(names).find(expression, around, whole=whole)
    pattern = re.compile(around(expression))
    matches = {name: pattern.fullmatch(name) if whole else pattern.match(name) for name in names}
    return found, {name: match.groupdict().get("idx") for name, match in matches.items() if match}


@pytest.mark.parametrize("expression", WRITTEN, ids=range(len(WRITTEN)))
def test_what_people_write_matches_as_in_python(expression: str) -> None:
    found, expected = answers(expression, NAMES, str, whole=True)

    assert found == expected
    assert parse_config(configured(target_modules=expression)).target_modules == expression


def test_unsloths_expression_finds_the_language_model() -> None:
    found = Search(NAMES).find(UNSLOTH, whole=True)

    assert list(found) == list(NAMES[:23])


texts = st.text(alphabet="ab1._-", min_size=1, max_size=10) | st.text(string.printable[:95], min_size=1, max_size=6)
sets = st.builds(
    "[{}{}]".format,
    st.sampled_from(["", "^"]),
    st.lists(
        st.sampled_from(["a", "b", "a-b", "+-1", r"\d", r"\w", r"\S", r"\.", ".", "-", r"\]", "^", "[:alpha:", "{"]),
        min_size=1,
        max_size=3,
    ).map("".join),
)
atoms = (
    st.sampled_from(
        [
            *"ab1._-{} ",
            *[
                r"\.",
                r"\-",
                r"\_",
                r"\d",
                r"\D",
                r"\w",
                r"\W",
                r"\s",
                r"\S",
                r"\b",
                r"\B",
                r"\A",
                r"\Z",
                r"^",
                r"$",
                r"{}",
                r"{a}",
            ],
        ]
    )
    | sets
)
repeats = st.sampled_from([*"***+++???", "*?", "+?", "??", "{2}", "{1,2}?", "{,2}", "{0,}", "{,}", "{02}", "{0}", "*+"])
grammar = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, repeats).map("".join),
        st.tuples(inner, inner).map("|".join),
        st.builds("({}{})".format, st.sampled_from(["", "?:", "?P<a>", "?=", "?!", "?<=", "?i:"]), inner),
        st.builds("({}){}".format, inner, repeats),
    ),
    max_leaves=8,
)
ahead = st.builds(
    "{}({}{}){}{}".format,
    st.sampled_from(["", "^"]),
    st.sampled_from(["?=", "?!"]),
    grammar,
    st.sampled_from(["", "", "?"]),
    grammar,
)
anything = st.text(alphabet="ab.*+?|(){}[]^$\\d1,-:=!<>P&~Z0x", max_size=20)


@AROUND
@settings(max_examples=300)
@given(expression=grammar | ahead | anything, names=st.lists(texts, min_size=1, max_size=8, unique=True))
def test_what_is_admitted_matches_as_in_python(around: Any, whole: bool, expression: str, names: list[str]) -> None:
    try:
        found, expected = answers(expression, names, around, whole)
    except DomainError:
        assume(False)
        raise

    assert found == expected


@pytest.mark.parametrize(
    "expression",
    [
        r"(a)\1",
        r"(?P<a>a)(?P=a)",
        r"(a)?(?(1)b|c)",
        r"(?<=a)b",
        r"(?<!a)b",
        r"a(?=b)b",
        r"(?!a)b|c",
        r"(?=a)?a",
        r"(?=a){0,2}a",
        r"(?=a(?!b))a",
        r"(?i)Q_PROJ",
        r"(?i:Q)_proj",
        r"(?x)q _proj",
        r"(?s:.)",
        r"(?#note)q_proj",
        r"(?>a*)",
        r"a*+",
        r"a{1,2}+",
        r"\x61",
        r"\u0061",
        r"\N{DIGIT ONE}",
        r"\0",
        r"\012",
        r"\n",
        r"[\b]",
        r"[\x00-\U0010ffff]",
        r"[[a]",
        r"[a--b]",
        r"[a&&b]",
        "a{1001}",
        "((a{1,100}){1,100}){1,100}",
        "q_pröj",
        "a\nb",
        "a" * (MAX_CHARACTERS + 1),
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_what_re2_has_not_or_reads_otherwise_is_refused_by_name(expression: str) -> None:
    assert refusal(expression) is Reason.ADAPTER_NOT_SUPPORTED


@pytest.mark.parametrize(
    "expression",
    ["(a", "a)", "[a", "*", "a**", "a\\", r"\q", r"\pN", r"\Qa\E", r"\C", r"\z", "[b-a]", "(?P<1>a)", "(?q)", "a{2,1}",
     "a{99999999999}", "(?P<a>a)(?P<a>b)", "(" * 500 + ")" * 500],
    ids=lambda text: ascii(text[:20]),
)  # fmt: skip
def test_what_python_does_not_compile_is_invalid(expression: str) -> None:
    assert refusal(expression) is Reason.ADAPTER_CONFIG_INVALID


@pytest.mark.parametrize("expression", ["a|b", "(?P<a>h|layers)", "(language_model.)?layers"])
def test_what_peft_puts_around_is_part_of_the_expression(expression: str) -> None:
    names = ("b", "a.b.c", "a.layers.3.b.4.c", "h.2.mlp", "x.a", "language_model.layers.1.mlp")

    for around in (AROUND_PATTERN, AROUND_SAVED, AROUND_LAYERS):
        found, expected = answers(expression, names, around, whole=False)
        assert found == expected


def test_a_number_that_a_repeated_group_decides_is_refused() -> None:
    # Python's (|\w??.)* finds layer 1 in "ab.1.2.a", RE2's finds layer 2.
    assert refusal(r"(|\w??.)*", AROUND_LAYERS) is Reason.ADAPTER_NOT_SUPPORTED


def test_a_group_called_as_pefts_is_invalid() -> None:
    assert refusal(r"(?P<idx>h)", AROUND_LAYERS) is Reason.ADAPTER_CONFIG_INVALID


@pytest.mark.parametrize("name", ["model.läyers.0", "model.layers\n", "", "a\x7f"], ids=ascii)
def test_names_that_the_two_might_read_differently_are_refused(name: str) -> None:
    with pytest.raises(DomainError) as caught:
        Search([*NAMES, name]).find(".*")

    assert caught.value.reason is Reason.ADAPTER_NOT_SUPPORTED
    assert caught.value.metadata == {"feature": "expression"}


def test_such_names_can_be_listed() -> None:
    matcher = Matcher(parse_config(configured(target_modules=["läyer"])), ["model.läyer"])

    assert matcher.without_module(["model.läyer"]) == []


@pytest.mark.parametrize(
    "expression",
    ["(a+)+$", "(a|a)*b", "(a*)*b", "(?:.*.*)*x", "(.*.?)*x", ".*" * 20 + "x", "a?" * 30 + "a" * 30, "((a?){9}){9}b",
     "(?=(a+)+b)a*", "(a|b)*a(a|b){12}"],
    ids=lambda text: text[:20],
)  # fmt: skip
@settings(max_examples=20, deadline=200)
@given(length=st.integers(60, 100_000))
def test_what_backtracks_for_ever_in_python_ends_soon(expression: str, length: int) -> None:
    compiled = compile_expression(expression)

    assert compiled.match(b"a" * length + b"!", whole=True) is None


@pytest.mark.parametrize("expression", ["(?:.?){1000}", "((a?){30}){30}"])
def test_a_program_is_no_larger_than_its_memory(expression: str) -> None:
    assert compile_expression(expression).size * 16 < MAX_MEMORY
    assert refusal(f"({expression}b){{2}}" * 40) is Reason.ADAPTER_NOT_SUPPORTED


@pytest.mark.parametrize("names", [[], [f"model.layers.{index}.{'x' * 60}" for index in range(8192)]], ids=len)
def test_work_is_bounded(names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expressions, "MAX_STEPS", 50_000_000)
    hostile = dict.fromkeys((f"(?:.?){{1000}}{index}" for index in range(8192)), 4)
    config = dataclasses.replace(parse_config(configured()), rank_pattern=hostile)

    with pytest.raises(DomainError) as caught:
        Matcher(config, names)

    assert caught.value.reason is Reason.LIMIT_EXCEEDED


def test_a_pattern_for_every_module_is_no_work() -> None:
    names = [f"model.layers.{layer}.self_attn.{side}_proj" for layer in range(80) for side in "qkvo"]
    every = {name: 1 + index for index, name in enumerate(names)}

    matcher = Matcher(parse_config(configured(rank_pattern=every, alpha_pattern=every)), names)

    assert {name: matcher.rank(name) for name in names} == every


def test_refusals_say_nothing_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    refusal("(?:a{1000}){2}")
    compile_expression("(?:.?){1000}").match(b"a" * 5000)

    assert capfd.readouterr() == ("", "")
