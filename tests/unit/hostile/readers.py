"""The readers of what comes from outside, each with documents it accepts and the reasons it may refuse with."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from services.common.admission.config import parse_config
from services.common.admission.tensors import plan_adapter
from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, FingerprintSummary, LinearModule, TensorEntry, TensorLeaf
from services.common.identity.base_directory import Layout
from services.common.identity.canonical import digest_of, parse_json
from services.common.identity.config import normalize_config
from services.common.identity.documents import read_documents
from services.common.identity.modules import list_modules
from services.common.identity.processor import processor_digest
from services.common.identity.quantization import quantization_of
from services.common.identity.remote_code import code_digest
from services.common.identity.safetensors_header import PREFIX_BYTES, header_length, parse_header
from services.common.identity.tokenizer import pipeline_digest, template_digest, tokenizer_digest
from services.common.manifest import AdapterManifest, ManifestFile, Provenance
from services.common.probe import Probe
from services.common.signing import Envelope, sign
from tests.support.keys import STRANGERS_KEY, TEST_KEY, TEST_TRUST
from tests.unit.hostile.mutations import MAX_BYTES
from tests.unit.identity.build import safetensors_bytes, tensors_of

DIGEST: Final = "0123456789abcdef" * 4


@dataclass(frozen=True)
class Reader:
    """A function from bytes to a value.

    Attributes:
        read: raises a DomainError for one of ``reasons``, and nothing else.
        reasons: why it may refuse.
        seeds: documents to be damaged; the first is accepted as it is.
        again: the value's bytes, which must be read as an equal value; None where there is no way back.
    """

    read: Callable[[bytes], Any]
    reasons: frozenset[Reason]
    seeds: tuple[bytes, ...]
    again: Callable[[Any], bytes] | None = None


def fingerprint() -> BaseFingerprint:
    return BaseFingerprint.of(
        architecture="LlamaForCausalLM",
        config={"model_type": "llama", "hidden_size": 8, "rms_norm_eps": 1e-06},
        tensors=(TensorLeaf("a.weight", "BF16", (2, 3), DIGEST), TensorLeaf("b.weight", "F32", (4,), DIGEST)),
        modules=(LinearModule("a", "Linear", 3, 2),),
        code_digest=None,
        tokenizer_digest=DIGEST,
        chat_template_digest=None,
        processor_digest=None,
        quantization={"method": "gptq", "bits": 4, "modules": {}, "settings": {}},
    )


def manifest() -> AdapterManifest:
    return AdapterManifest(
        files=(
            ManifestFile("adapter_config.json", 10, DIGEST),
            ManifestFile("adapter_model.safetensors", 20, DIGEST, DIGEST),
        ),
        base_model="baseModels/tiny",
        base=fingerprint().summary(),
        provenance=Provenance.WITNESSED,
        peft={"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"]},
        chat_template="{{ messages }}",
        stop_token_ids=(1, 2),
        training={"seed": 0, "learning_rate": 1e-3, "steps": [1, 2]},
        probe=Probe((3, 1), (7, 9), (0.5, 2.0), (1.25, -2.0)),
    )


CONFIGS: Final[tuple[Mapping[str, Any], ...]] = (
    {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["a", "b"], "bias": "none", "lora_dropout": 0.1},
    {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 8.5,
        "target_modules": r"m\.(a|b)",
        "exclude_modules": ["c"],
        "modules_to_save": ["e"],
        "rank_pattern": {"a": 2, r"^m\.b": 3},
        "alpha_pattern": {"b": 1.5},
        "use_rslora": True,
    },
    {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["a"],
        "layers_to_transform": [0, 1],
        "layers_pattern": "layers",
        "use_dora": True,
        "init_lora_weights": "gaussian",
    },
)
MODULES: Final = (
    LinearModule("m.a", "Linear", 6, 5),
    LinearModule("m.b", "Conv1D", 5, 6),
    LinearModule("m.c", "Linear", 6, 6),
    LinearModule("m.e", "Embedding", 16, 6),
)
ADAPTER: Final = safetensors_bytes(
    tensors_of(
        {
            "base_model.model.m.a.lora_A.weight": (4, 6),
            "base_model.model.m.a.lora_B.weight": (5, 4),
            "base_model.model.m.b.lora_A.weight": (4, 5),
            "base_model.model.m.b.lora_B.weight": (6, 4),
        }
    ),
    {"format": "pt"},
)


BASE_DOCUMENTS: Final[Mapping[str, Any]] = {
    "config.json": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "rope_scaling": {"type": "yarn", "factor": 2.0},
        "rope_theta": 1e4,
        "rope_local_base_freq": 1e4,
        "layer_types": ["attention", "full_attention"],
        "image_token_index": 5,
        "max_position_embeddings": 512,
        "vision_config": {"model_type": "clip", "rope_parameters": {"full_attention": {"rope_theta": 1}}},
        "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {}},
    },
    "tokenizer_config.json": {
        "eos_token": {"content": "x"},
        "additional_special_tokens": ["a", {"content": "b"}],
        "chat_template": [{"name": "default", "template": "{{ x }}"}],
    },
    "special_tokens_map.json": {"pad_token": "y", "extra_special_tokens": {"image_token": "i"}},
    "processor_config.json": {"image_mean": [0.5], "auto_map": {"AutoProcessor": "other/repo--processing_x.X"}},
    "tokenizer.json": {
        "added_tokens": [{"id": 1, "content": "x"}, {"id": 0, "content": "y"}],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]},
        "pre_tokenizer": {"type": "ByteLevel", "use_regex": True},
        "model": {"type": "BPE", "vocab": {"a": 0, "é": 1}, "merges": [["a", "b"], "c d"], "dropout": 0.5},
    },
}


def read_safetensors(data: bytes) -> tuple[TensorEntry, ...]:
    length = header_length(data[:PREFIX_BYTES], file_size=len(data), what="x.safetensors")
    return parse_header(data[PREFIX_BYTES : PREFIX_BYTES + length], file_size=len(data), what="x.safetensors")


def read_signed(data: bytes) -> tuple[Envelope, str | None]:
    envelope = Envelope.from_bytes(data)
    try:
        return envelope, TEST_TRUST.verify(data, manifest().to_bytes())
    except DomainError as error:
        if error.reason not in {Reason.SIGNATURE_UNTRUSTED, Reason.SIGNATURE_INVALID}:
            raise
        return envelope, None


CONFIG_REASONS: Final = frozenset({Reason.ADAPTER_CONFIG_INVALID, Reason.ADAPTER_NOT_SUPPORTED, Reason.LIMIT_EXCEEDED})
PLAN_REASONS: Final = frozenset(
    {
        Reason.ADAPTER_NOT_SUPPORTED,
        Reason.ADAPTER_MODULE_NOT_FOUND,
        Reason.ADAPTER_TENSOR_MISSING,
        Reason.ADAPTER_TENSOR_UNEXPECTED,
        Reason.ADAPTER_SHAPE_MISMATCH,
    }
)
HEADER_REASONS: Final = frozenset({Reason.SAFETENSORS_INVALID, Reason.LIMIT_EXCEEDED})
NAME_REASONS: Final = frozenset({Reason.ADAPTER_TENSOR_UNKNOWN, Reason.ADAPTER_DTYPE_NOT_SUPPORTED})


def read_base_documents(data: bytes) -> tuple[Any, ...]:
    """Everything that a base's fingerprint takes from its documents; all of them come as one object, by file name."""
    value = parse_json(data, what="x", limit=MAX_BYTES, reason=Reason.BASE_NOT_A_MODEL)
    if not isinstance(value, dict) or "config.json" not in value:
        return ()
    files = {name: json.dumps(document).encode() for name, document in value.items() if name in BASE_DOCUMENTS}
    directory = Path("/nowhere")
    documents = read_documents(Layout(directory, files, (), None))
    config = normalize_config(documents.config)
    leaves = [TensorLeaf("model.layers.0.self_attn.q_proj.qweight", "I32", (16, 24), DIGEST)]
    quantization = quantization_of(documents.config, ["I32"])
    return (
        digest_of(config),
        list_modules(config, leaves, 4),
        quantization and digest_of(quantization),
        processor_digest(documents.config, documents.processor),
        code_digest(directory, documents.auto_maps),
        pipeline_digest(files.get("tokenizer.json", b"{}")),
        tokenizer_digest(DIGEST, documents.roles),
        template_digest(documents.templates),
    )


def _document(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


READERS: Final[Mapping[str, Reader]] = {
    "safetensors": Reader(
        read_safetensors,
        HEADER_REASONS,
        (ADAPTER, safetensors_bytes(tensors_of({"é.weight": (2, 3), "none": (0, 3), "one": ()}, "BF16"))),
    ),
    "manifest": Reader(
        AdapterManifest.from_bytes,
        frozenset({Reason.MANIFEST_INVALID}),
        (manifest().to_bytes(),),
        AdapterManifest.to_bytes,
    ),
    "envelope": Reader(
        read_signed,
        frozenset({Reason.SIGNATURE_INVALID}),
        (
            sign(manifest().to_bytes(), TEST_KEY).to_bytes(),
            sign(manifest().to_bytes(), TEST_KEY, STRANGERS_KEY).to_bytes(),
        ),
        lambda signed: bytes(signed[0].to_bytes()),
    ),
    "adapter configuration": Reader(
        parse_config,
        CONFIG_REASONS,
        tuple(map(_document, CONFIGS)),
    ),
    "adapter targets": Reader(
        lambda data: plan_adapter(parse_config(data), read_safetensors(ADAPTER), MODULES),
        CONFIG_REASONS | PLAN_REASONS,
        tuple(map(_document, CONFIGS)),
    ),
    "adapter tensors": Reader(
        lambda data: plan_adapter(parse_config(_document(CONFIGS[0])), read_safetensors(data), MODULES),
        HEADER_REASONS | NAME_REASONS | PLAN_REASONS,
        (ADAPTER,),
    ),
    "documents of a base": Reader(
        read_base_documents,
        frozenset({Reason.BASE_NOT_A_MODEL, Reason.BASE_FILES_INCONSISTENT, Reason.FINGERPRINT_INVALID}),
        (_document(BASE_DOCUMENTS),),
    ),
    "fingerprint": Reader(
        BaseFingerprint.from_document,
        frozenset({Reason.FINGERPRINT_INVALID, Reason.LIMIT_EXCEEDED}),
        (fingerprint().to_document(), fingerprint().derived(DIGEST).to_document()),
        BaseFingerprint.to_document,
    ),
    "fingerprint summary": Reader(
        lambda data: FingerprintSummary.from_summary(
            parse_json(data, what="x", limit=MAX_BYTES, reason=Reason.FINGERPRINT_INVALID)
        ),
        frozenset({Reason.FINGERPRINT_INVALID}),
        (_document(fingerprint().summary()),),
        lambda summary: _document(summary.summary()),
    ),
}
