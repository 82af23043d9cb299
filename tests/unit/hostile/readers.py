"""The readers of what comes from outside, each with documents it accepts and the reasons it may refuse with."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.common.admission.config import parse_config
from services.common.admission.tensors import plan_adapter
from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, FingerprintSummary, LinearModule, TensorEntry, TensorLeaf
from services.common.identity.canonical import parse_json
from services.common.identity.safetensors_header import PREFIX_BYTES, header_length, parse_header
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
