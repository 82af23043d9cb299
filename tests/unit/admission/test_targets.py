"""PEFT's own functions say what is right; this must say the same without PEFT."""

import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key

from services.common.admission.config import parse_config
from services.common.admission.model import AdapterConfig
from services.common.admission.targets import Matcher
from services.common.errors import DomainError
from services.common.identity import LinearModule
from tests.unit.admission.build import CONFIG

SEGMENTS = (
    "model",
    "layers",
    "h",
    "0",
    "1",
    "12",
    "self_attn",
    "q_proj",
    "qq_proj",
    "mlp",
    "experts",
    "lm_head",
    "proj",
)
names = st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=7).map(".".join)
endings = names | st.sampled_from(["_proj", "proj", "lm_head", "embed"])
expressions = st.sampled_from(
    [
        r".*\.q_proj",
        r".*(q|qq)_proj",
        r"model\.layers\.\d+\..*",
        r"(?!.*mlp).*proj",
        r"lm_head|.*\.mlp",
        r".*\.1\d?\..*",
        "model.layers",
        "^model.*",
    ]
)
patterns = names | expressions


def declared(**changes: Any) -> AdapterConfig:
    try:
        return parse_config(json.dumps({**CONFIG, **changes}).encode())
    except DomainError:
        assume(False)
        raise


def module(name: str) -> LinearModule:
    return LinearModule(name, "Linear", 8, 8)


@settings(max_examples=600)
@given(
    name=names,
    targets=st.lists(endings, min_size=1, max_size=4) | expressions,
    excluded=st.none() | st.lists(endings, max_size=2) | expressions,
    saved=st.none() | st.lists(names, max_size=2),
    layers=st.none() | st.integers(0, 12) | st.lists(st.integers(0, 12), max_size=3),
    layers_pattern=st.none() | st.just("") | st.sampled_from(["layers", "h", "l.*s"]) | st.just(["h", "layers"]),
)
def test_targets_are_pefts(
    name: str, targets: Any, excluded: Any, saved: Any, layers: Any, layers_pattern: Any
) -> None:
    stated = {
        "target_modules": targets,
        "exclude_modules": excluded,
        "modules_to_save": saved,
        "layers_to_transform": layers,
        "layers_pattern": layers_pattern,
    }
    config = declared(**stated)

    assert Matcher(config, [name]).targets(module(name)) == bool(check_target_module_exists(LoraConfig(**stated), name))


@settings(max_examples=400)
@given(
    name=names,
    ranks=st.dictionaries(patterns, st.integers(1, 64), max_size=4),
    alphas=st.dictionaries(patterns, st.floats(-4, 64), max_size=4),
    rslora=st.booleans(),
)
def test_ranks_and_scales_are_pefts(name: str, ranks: Any, alphas: Any, rslora: bool) -> None:
    matcher = Matcher(declared(rank_pattern=ranks, alpha_pattern=alphas, use_rslora=rslora), [name])
    rank = ranks.get(get_pattern_key(list(ranks), name), CONFIG["r"])
    alpha = alphas.get(get_pattern_key(list(alphas), name), CONFIG["lora_alpha"])

    assert matcher.rank(name) == rank
    assert matcher.scaling(name) == pytest.approx(alpha / (rank**0.5 if rslora else rank))


@given(name=names, saved=st.lists(endings, min_size=1, max_size=3))
def test_replaced_modules_are_those_whose_names_end_so(name: str, saved: list[str]) -> None:
    # As peft.utils.other._set_trainable has it: without a dot before.
    assert Matcher(declared(modules_to_save=saved), [name]).replaces(name) == any(name.endswith(end) for end in saved)


@pytest.mark.parametrize(
    ("name", "kind", "hit"),
    [
        ("model.layers.0.mlp.up_proj", "Linear", True),
        ("transformer.h.0.attn.c_attn", "Conv1D", True),
        ("lm_head", "Linear", False),
        ("model.embed_tokens", "Embedding", False),
        ("model.layers.0.mlp.gate", "Router", False),
    ],
)
def test_all_linear_is_all_but_the_output(name: str, kind: str, hit: bool) -> None:
    matcher = Matcher(declared(target_modules="All-Linear"), [name])

    assert matcher.targets(LinearModule(name, kind, 8, 8)) is hit
