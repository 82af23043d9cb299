"""adapter_config.json as PEFT writes it, read strictly: what would change the computation in a way unknown here is refused.

Field by field after PEFT 0.21's ``LoraConfig``. A field that is in none of the tables must be off.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from services.common.admission.model import ALL_LINEAR, MAX_CONFIG_BYTES, AdapterConfig
from services.common.admission.refusals import CONFIG_FILE, config_invalid, not_supported, some
from services.common.admission.targets import check_expressions
from services.common.errors import Reason
from services.common.identity.canonical import parse_json

__all__ = ["MANIFEST_KEYS", "MAX_CONFIG_BYTES", "AdapterConfig", "parse_config", "read_document", "summarize"]

MANIFEST_KEYS: Final = (
    "peft_type",
    "r",
    "lora_alpha",
    "target_modules",
    "fan_in_fan_out",
    "bias",
    "use_rslora",
    "use_dora",
)
"""What a manifest repeats of adapter_config.json."""

HARMLESS: Final[Mapping[str, str]] = {
    "auto_mapping": "which classes PEFT wraps",
    "base_model_name_or_path": "a name; the fingerprint decides",
    "corda_config": "how training began, and only where init_lora_weights says so",
    "eva_config": "how training began, and only where init_lora_weights says so",
    "inference_mode": "whether PEFT freezes the weights",
    "loftq_config": "how training began, and only where init_lora_weights says so",
    "lora_dropout": "only while training",
    "lora_ga_config": "how training began, and only where init_lora_weights says so",
    "megatron_core": "which Megatron to import, and only with megatron_config",
    "peft_version": "who wrote it",
    "qalora_group_size": "only with use_qalora",
    "revision": "of the base's name",
    "runtime_config": "where PEFT computes",
    "task_type": "which class PEFT wraps around the model; heads of other tasks have tensors of their own",
}
"""Fields that do not change what the adapter computes, each with its reason."""

REFUSED: Final[Mapping[str, str]] = {
    "alora_invocation_tokens": "it changes the answer only after certain tokens (aLoRA)",
    "arrow_config": "it chooses among several adapters for each token (Arrow)",
    "bias": "it changes the base's own biases",
    "kasa_config": "it cuts small singular values off the base's weights (KaSA)",
    "layer_replication": "it repeats layers of the base",
    "megatron_config": "it is made for Megatron's parallel layers",
    "monteclora_config": "it draws its weights at random (MonteCLoRA)",
    "target_parameters": "it changes bare parameters, such as those of fused experts",
    "trainable_token_indices": "it replaces single rows of the embedding",
    "use_bdlora": "its matrices are block-diagonal (BD-LoRA)",
    "use_qalora": "it averages groups of its inputs (QA-LoRA)",
    "velora_config": "it was trained with compressed activations (VeLoRA)",
}
"""Fields that change the computation in a way that is not served, each with what it does."""

INITIALISATIONS: Final = frozenset({"gaussian", "orthogonal", "eva", "mica"})
"""How training may have begun, beside true and false: these leave the base as it is, and the file holds A and B."""
BASE_CHANGING: Final = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""How it may not: these moved a part of the base's weights into the adapter, and the base here still has it."""

TIED: Final = frozenset({"embed_tokens", "lm_head"})
"""Modules for which ``ensure_weight_tying`` has an effect (PEFT's EMBEDDING_LAYER_NAMES)."""

_ADAPTER: Final = TypeAdapter(AdapterConfig)
_READ: Final = frozenset(AdapterConfig.__dataclass_fields__)
_OTHERWISE_READ: Final = frozenset({"peft_type", "init_lora_weights", "ensure_weight_tying"})
_SHOWN: Final = 80


def parse_config(data: bytes) -> AdapterConfig:
    """Read adapter_config.json.

    Raises:
        DomainError: ADAPTER_CONFIG_INVALID where it is malformed or contradicts itself, ADAPTER_NOT_SUPPORTED where it
            sets an option that is not served, LIMIT_EXCEEDED above ``MAX_CONFIG_BYTES``.
    """
    document = read_document(data)
    _check_type(document)
    _check_options(document)
    _check_initialisation(document.get("init_lora_weights", True))
    try:
        config = _ADAPTER.validate_json(data)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = fault["loc"][0] if fault["loc"] else "the object"
        raise config_invalid(f"{where}: {fault['msg'][:200]}") from None
    _check_consistent(config, document)
    check_expressions(config)
    return config


def read_document(data: bytes) -> dict[str, Any]:
    """The JSON object in adapter_config.json: no key twice, nothing that is not finite.

    Raises:
        DomainError: ADAPTER_CONFIG_INVALID, LIMIT_EXCEEDED.
    """
    document = parse_json(data, what=CONFIG_FILE, limit=MAX_CONFIG_BYTES, reason=Reason.ADAPTER_CONFIG_INVALID)
    if not isinstance(document, dict):
        raise config_invalid("it is not a JSON object")
    if not _is_finite(document):
        raise config_invalid("it holds a number that is not finite")
    return document


def summarize(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest's ``peft`` says of a configuration."""
    return {key: document[key] for key in MANIFEST_KEYS if key in document}


def _is_finite(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _check_type(document: Mapping[str, Any]) -> None:
    kind = document.get("peft_type")
    if not isinstance(kind, str):
        raise config_invalid("it names no peft_type")
    if kind != "LORA":
        kind = kind[:_SHOWN]
        raise not_supported(kind, f"The adapter's peft_type is {kind!r}; only LORA is served. Train a LoRA adapter.")


def _check_options(document: Mapping[str, Any]) -> None:
    for key, value in document.items():
        if key in _READ or key in _OTHERWISE_READ or key in HARMLESS or _is_off(key, value):
            continue
        name = some([key])
        what = REFUSED.get(key, "it is no option that is known here")
        raise not_supported(
            key[:_SHOWN], f"The adapter sets {name}, which is not served: {what}. Train it without {name}."
        )


def _is_off(key: str, value: object) -> bool:
    """PEFT writes every option it knows; those that are off say so by being empty."""
    return not value or (key == "bias" and value == "none")


def _check_initialisation(value: object) -> None:
    stated = value.lower() if isinstance(value, str) else ""
    if value is None or isinstance(value, bool) or stated in INITIALISATIONS:
        return
    if stated.startswith(BASE_CHANGING):
        raise not_supported(
            "init_lora_weights",
            f"The adapter was begun with {stated[:_SHOWN]!r}, which moves a part of the base's weights into the adapter; "
            "on the unchanged base it would count twice. Convert it with PEFT (save_pretrained with "
            "path_initial_model_for_weight_conversion).",
        )
    raise config_invalid(f"init_lora_weights is {str(value)[:_SHOWN]!r}, which PEFT does not know")


def _check_consistent(config: AdapterConfig, document: Mapping[str, Any]) -> None:
    """What PEFT's ``LoraConfig.__post_init__`` refuses, and what would have no meaning."""
    if not config.target_modules:
        raise config_invalid("target_modules is empty")
    if isinstance(config.target_modules, str) and (
        config.layers_to_transform is not None or config.layers_pattern is not None
    ):
        raise config_invalid("layers_to_transform and layers_pattern need target_modules to be a list")
    if config.layers_pattern and config.layers_to_transform is None:
        raise config_invalid("layers_pattern is set without layers_to_transform")
    if config.lora_bias and config.use_dora:
        raise config_invalid("lora_bias and use_dora exclude each other")
    if config.lora_bias and not isinstance(document.get("init_lora_weights", True), bool):
        raise config_invalid("lora_bias is set with an init_lora_weights that has none")
    if document.get("ensure_weight_tying") and _touches_tied(config):
        raise not_supported(
            "ensure_weight_tying",
            "The adapter sets ensure_weight_tying and changes the embedding, so that one set of tensors stands for "
            "embedding and output. That is not served; train it without ensure_weight_tying.",
        )


def _touches_tied(config: AdapterConfig) -> bool:
    targets = config.target_modules
    named = [*(config.modules_to_save or []), *([] if isinstance(targets, str) else targets)]
    if any(name.rpartition(".")[2] in TIED for name in named):
        return True
    # An expression can reach them in too many spellings to tell.
    return isinstance(targets, str) and targets.lower() != ALL_LINEAR
