import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig

from services.common.admission import config as admission_config
from services.common.admission.config import MAX_CONFIG_BYTES, parse_config, read_document, summarize
from services.common.admission.model import AdapterConfig
from services.common.errors import DomainError, Reason
from tests.unit.admission.build import CONFIG


def configured(**changes: Any) -> bytes:
    return json.dumps({**CONFIG, **changes}).encode()


def refusal(data: bytes) -> DomainError:
    with pytest.raises(DomainError) as caught:
        parse_config(data)
    return caught.value


def test_every_option_of_peft_is_in_exactly_one_table() -> None:
    tables = [
        set(AdapterConfig.__dataclass_fields__),
        set(admission_config.HARMLESS),
        set(admission_config.REFUSED),
        {"peft_type", "init_lora_weights", "ensure_weight_tying"},
    ]
    options = {field.name for field in dataclasses.fields(LoraConfig)}

    assert {option: sum(option in table for table in tables) for option in options} == dict.fromkeys(options, 1)


def test_what_peft_saves_by_default_is_read() -> None:
    saved = dataclasses.asdict(LoraConfig(r=3, lora_alpha=5, target_modules=["q_proj"]))
    document = {**saved, "peft_type": "LORA"}

    config = parse_config(json.dumps(document, default=list).encode())

    assert (config.r, config.lora_alpha, config.target_modules) == (3, 5, ["q_proj"])


@pytest.mark.parametrize(
    "changes",
    [
        {"rank_pattern": {"^model.layers.0.self_attn.q_proj": 8}, "alpha_pattern": {r".*\.1\..*": 2.5}},
        {"use_rslora": True},
        {"use_dora": True},
        {"lora_bias": True},
        {"fan_in_fan_out": True},
        {"layers_to_transform": [0], "layers_pattern": "layers"},
        {"layers_to_transform": 1},
        {"exclude_modules": ["lm_head"]},
        {"modules_to_save": ["embed_tokens"]},
        {"target_modules": r".*\.(q|v)_proj"},
        {"target_modules": "all-linear"},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": "eva", "eva_config": {"rho": 2.0}},
        {"init_lora_weights": None},
        {"ensure_weight_tying": True},
        {"lora_dropout": 0.5, "task_type": "CAUSAL_LM", "megatron_core": "megatron.core", "qalora_group_size": 16},
        {"an_option_of_tomorrow": None, "another": [], "a_third": False},
    ],
    ids="+".join,
)
def test_served_options_are_read(changes: dict[str, Any]) -> None:
    parse_config(configured(**changes))


@pytest.mark.parametrize(
    ("feature", "changes"),
    [
        ("bias", {"bias": "all"}),
        ("bias", {"bias": "lora_only"}),
        ("trainable_token_indices", {"trainable_token_indices": [1, 2]}),
        ("target_parameters", {"target_parameters": ["mlp.experts.gate_up_proj"]}),
        ("layer_replication", {"layer_replication": [[0, 2], [1, 2]]}),
        ("megatron_config", {"megatron_config": {"hidden": 1}}),
        ("alora_invocation_tokens", {"alora_invocation_tokens": [5]}),
        ("use_qalora", {"use_qalora": True}),
        ("use_bdlora", {"use_bdlora": {"nblocks": 2}}),
        ("velora_config", {"velora_config": {"num_groups": 2}}),
        ("arrow_config", {"arrow_config": {"top_k": 2}}),
        ("kasa_config", {"kasa_config": {"beta": 0.1}}),
        ("monteclora_config", {"monteclora_config": {"num_samples": 2}}),
        ("an_option_of_tomorrow", {"an_option_of_tomorrow": 1}),
        ("init_lora_weights", {"init_lora_weights": "pissa"}),
        ("init_lora_weights", {"init_lora_weights": "pissa_niter_16"}),
        ("init_lora_weights", {"init_lora_weights": "OLoRA"}),
        ("init_lora_weights", {"init_lora_weights": "corda"}),
        ("init_lora_weights", {"init_lora_weights": "loftq"}),
        ("init_lora_weights", {"init_lora_weights": "lora_ga"}),
        ("ensure_weight_tying", {"ensure_weight_tying": True, "modules_to_save": ["model.embed_tokens"]}),
        ("ensure_weight_tying", {"ensure_weight_tying": True, "target_modules": ["lm_head"]}),
        ("ensure_weight_tying", {"ensure_weight_tying": True, "target_modules": ".*"}),
        ("LOHA", {"peft_type": "LOHA"}),
        ("expression", {"target_modules": "(?<=a)b"}),
    ],
    ids=str,
)
def test_options_that_would_change_the_answer_are_refused_by_name(feature: str, changes: dict[str, Any]) -> None:
    error = refusal(configured(**changes))

    assert (error.reason, error.metadata) == (Reason.ADAPTER_NOT_SUPPORTED, {"feature": feature})
    assert feature in {"expression", "LOHA"} or feature in error.message or "begun with" in error.message


@pytest.mark.parametrize(
    "changes",
    [
        {"peft_type": None},
        {"peft_type": 7},
        {"r": 0},
        {"r": -1},
        {"r": "8"},
        {"r": 8.0},
        {"r": True},
        {"r": 10**30},
        {"lora_alpha": "16"},
        {"lora_alpha": 1e300},
        {"target_modules": None},
        {"target_modules": []},
        {"target_modules": ""},
        {"target_modules": [""]},
        {"target_modules": [1]},
        {"target_modules": {"q_proj": 1}},
        {"target_modules": "(q_proj"},
        {"exclude_modules": "*"},
        {"modules_to_save": "lm_head"},
        {"modules_to_save": [""]},
        {"rank_pattern": {"q_proj": 0}},
        {"rank_pattern": {"(": 4}},
        {"rank_pattern": [4]},
        {"rank_pattern": {r"\g": 4}},
        {"alpha_pattern": {"q_proj": "4"}},
        {"use_dora": "yes"},
        {"use_dora": True, "lora_bias": True},
        {"lora_bias": True, "init_lora_weights": "gaussian"},
        {"layers_to_transform": [0], "target_modules": ".*q_proj"},
        {"layers_pattern": "layers", "target_modules": ".*q_proj"},
        {"layers_pattern": "layers"},
        {"layers_to_transform": [-1]},
        {"layers_to_transform": "0"},
        {"layers_pattern": ["(?P<idx>a)"], "layers_to_transform": [0]},
        {"init_lora_weights": "something"},
        {"init_lora_weights": [1]},
    ],
    ids=str,
)
def test_what_peft_would_not_have_written_is_invalid(changes: dict[str, Any]) -> None:
    assert refusal(configured(**changes)).reason is Reason.ADAPTER_CONFIG_INVALID


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'"LORA"',
        b"{",
        b"\xff{}",
        b"{}",
        b'{"peft_type": "LORA"}',
        configured()[:-1] + b', "r": 4}',
        configured()[:-1] + b', "note": NaN}',
        configured()[:-1] + b', "note": 1e999}',
        configured()[:-1] + b', "note": {"deep": [-Infinity]}}',
        configured()[:-1] + b', "note": "\\ud800"}',
        configured()[:-1] + b', "note": ' + b"[" * 100 + b"]" * 100 + b"}",
        b"[" * 100_000,
        b'{"r": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda data: str(data[-30:]),
)
def test_malformed_documents_are_invalid(data: bytes) -> None:
    assert refusal(data).reason is Reason.ADAPTER_CONFIG_INVALID


def test_a_document_above_the_limit_is_not_read() -> None:
    assert refusal(b" " * (MAX_CONFIG_BYTES + 1)).reason is Reason.LIMIT_EXCEEDED


def test_an_error_never_repeats_control_codes_of_the_file() -> None:
    error = refusal(configured(**{"\x1b[31mred\n": 1}))

    assert error.message.isprintable()


def test_a_summary_has_what_a_manifest_repeats() -> None:
    document = read_document(configured(revision="main"))

    assert summarize(document) == dict(CONFIG)


@settings(max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from([*AdapterConfig.__dataclass_fields__, "peft_type", "bias", "init_lora_weights", "other"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("LORA"),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=8,
        ),
    )
)
def test_any_document_is_read_or_refused(changes: dict[str, Any]) -> None:
    try:
        reason = None
        parse_config(json.dumps({**CONFIG, **changes}).encode())
    except DomainError as error:
        reason = error.reason

    assert reason in {None, Reason.ADAPTER_CONFIG_INVALID, Reason.ADAPTER_NOT_SUPPORTED}
