"""The fingerprint of a base, scheme ``tenon.base/1``: its fields, its id, its document and its summary.

docs/identity.md specifies all of it for other languages.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Self

from services.common.errors import Reason
from services.common.identity.canonical import canonical_json, digest_of, parse_json
from services.common.identity.document import Fields, is_digest, read_modules, read_tensors, refuse
from services.common.identity.modules import LinearModule
from services.common.identity.trees import TensorLeaf, component_roots, structure_root, weights_root

__all__ = ["MAX_DOCUMENT_BYTES", "SCHEME", "BaseFingerprint", "FingerprintSummary", "fingerprint_id"]

SCHEME: Final = "tenon.base/1"
MAX_DOCUMENT_BYTES: Final = 64 * 1024 * 1024


def fingerprint_id(
    *,
    architecture: str,
    code_digest: str | None,
    config_digest: str,
    weights_root: str,
    tokenizer_digest: str | None,
    processor_digest: str | None,
    quantization: Mapping[str, Any] | None,
) -> str:
    """SHA-256 over the canonical JSON of these fields and the scheme."""
    return digest_of(
        {
            "scheme": SCHEME,
            "architecture": architecture,
            "code_digest": code_digest,
            "config_digest": config_digest,
            "weights_root": weights_root,
            "tokenizer_digest": tokenizer_digest,
            "processor_digest": processor_digest,
            "quantization": quantization,
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FingerprintSummary:
    """A fingerprint without its lists: what an adapter's manifest carries.

    Attributes:
        scheme: ``tenon.base/1``.
        id: follows from the other fields, see ``fingerprint_id``.
        architecture: the class that computes the model.
        model_type: transformers' name of the family.
        code_digest: of the Python files the base brings along, or None.
        config_digest: of the canonical configuration.
        structure_root: over names, dtypes and shapes.
        weights_root: over names, dtypes, shapes and contents.
        component_roots: component → the weights root of its tensors alone.
        tokenizer_digest: of the pipeline and the roles, or None for a base without a tokenizer.
        chat_template_digest: of the chat templates; no part of the id, a template never refuses.
        processor_digest: of a multimodal base's processor, or None.
        quantization: of the stored weights, or None.
        derived_from: id of the base this one is declared a derivative of; no part of the id.
        parameter_count: elements of all tensors counted.
        config: the canonical configuration, over which ``config_digest`` is taken; None where only its digest is known.
    """

    scheme: str
    id: str
    architecture: str
    model_type: str
    code_digest: str | None
    config_digest: str
    structure_root: str
    weights_root: str
    component_roots: Mapping[str, str]
    tokenizer_digest: str | None
    chat_template_digest: str | None
    processor_digest: str | None
    quantization: Mapping[str, Any] | None
    derived_from: str | None
    parameter_count: int
    config: Mapping[str, Any] | None = None

    @property
    def root(self) -> str:
        """The base this one derives from by declaration, or itself."""
        return self.derived_from or self.id

    def summary(self) -> dict[str, Any]:
        """The fields of the summary as a JSON mapping."""
        summary = {field.name: getattr(self, field.name) for field in fields(FingerprintSummary)}
        return {key: _plain(value) for key, value in summary.items()}

    def derived(self, root_id: str | None) -> Self:
        """The same fingerprint, declared a derivative of another base.

        Raises:
            DomainError: FINGERPRINT_INVALID where ``root_id`` is no id.
        """
        if root_id is not None and not is_digest(root_id):
            refuse("derived_from is not the id of a base")
        return replace(self, derived_from=root_id)

    @classmethod
    def from_summary(cls, value: Any) -> "FingerprintSummary":
        """Read what ``summary`` gave.

        Raises:
            DomainError: FINGERPRINT_INVALID where a field is wrong or the id does not follow from the others.
        """
        taken = Fields(value, "the fingerprint")
        summary = FingerprintSummary(**_summary_fields(taken))
        taken.done()
        return summary


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFingerprint(FingerprintSummary):
    """A complete fingerprint.

    Attributes:
        config: always there.
        tensors: the leaves, in UTF-8 byte order of names.
        modules: what adapters can name; told from the rest, stored for convenience.
    """

    config: Mapping[str, Any]
    tensors: tuple[TensorLeaf, ...]
    modules: tuple[LinearModule, ...]

    @classmethod
    def of(
        cls,
        *,
        architecture: str,
        config: Mapping[str, Any],
        tensors: tuple[TensorLeaf, ...],
        modules: tuple[LinearModule, ...],
        code_digest: str | None,
        tokenizer_digest: str | None,
        chat_template_digest: str | None,
        processor_digest: str | None,
        quantization: Mapping[str, Any] | None,
        derived_from: str | None = None,
    ) -> "BaseFingerprint":
        """Compute digests, roots and id from the parts; ``tensors`` are in order."""
        counted: dict[str, Any] = {
            "architecture": architecture,
            "code_digest": code_digest,
            "config_digest": digest_of(config),
            "weights_root": weights_root(tensors),
            "tokenizer_digest": tokenizer_digest,
            "processor_digest": processor_digest,
            "quantization": quantization,
        }
        return BaseFingerprint(
            **counted,
            scheme=SCHEME,
            id=fingerprint_id(**counted),
            model_type=str(config.get("model_type", "")),
            structure_root=structure_root(tensors),
            component_roots=component_roots(tensors),
            chat_template_digest=chat_template_digest,
            derived_from=derived_from,
            parameter_count=sum(math.prod(leaf.shape) for leaf in tensors),
            config=config,
            tensors=tensors,
            modules=modules,
        )

    def to_document(self) -> bytes:
        """Canonical JSON of everything."""
        return canonical_json(
            {
                **self.summary(),
                "tensors": [_record(leaf) for leaf in self.tensors],
                "modules": [_record(module) for module in self.modules],
            }
        )

    @classmethod
    def from_document(cls, data: bytes) -> "BaseFingerprint":
        """Read a document and hold it against itself: id, digests and roots must follow from the content.

        Raises:
            DomainError: FINGERPRINT_INVALID; LIMIT_EXCEEDED above ``MAX_DOCUMENT_BYTES``.
        """
        value = parse_json(data, what="The fingerprint", limit=MAX_DOCUMENT_BYTES, reason=Reason.FINGERPRINT_INVALID)
        taken = Fields(value, "the fingerprint")
        stated = FingerprintSummary(**_summary_fields(taken))
        if stated.config is None:
            refuse("it has no config")
        computed = BaseFingerprint.of(
            architecture=stated.architecture,
            config=stated.config,
            tensors=read_tensors(taken.items("tensors")),
            modules=read_modules(taken.items("modules")),
            code_digest=stated.code_digest,
            tokenizer_digest=stated.tokenizer_digest,
            chat_template_digest=stated.chat_template_digest,
            processor_digest=stated.processor_digest,
            quantization=stated.quantization,
            derived_from=stated.derived_from,
        )
        taken.done()
        _check_follows(stated.summary(), computed.summary())
        return computed


def _summary_fields(taken: Fields) -> dict[str, Any]:
    counted: dict[str, Any] = {
        "architecture": taken.text("architecture"),
        "code_digest": taken.optional_digest("code_digest"),
        "config_digest": taken.digest("config_digest"),
        "weights_root": taken.digest("weights_root"),
        "tokenizer_digest": taken.optional_digest("tokenizer_digest"),
        "processor_digest": taken.optional_digest("processor_digest"),
        "quantization": taken.optional_mapping("quantization"),
    }
    rest = {
        "scheme": taken.one_of("scheme", (SCHEME,)),
        "id": taken.digest("id"),
        "model_type": taken.text("model_type"),
        "structure_root": taken.digest("structure_root"),
        "component_roots": taken.digests("component_roots"),
        "chat_template_digest": taken.optional_digest("chat_template_digest"),
        "derived_from": taken.optional_digest("derived_from"),
        "parameter_count": taken.count("parameter_count"),
        # Summaries that were stored before they had it are read on.
        "config": taken.optional_mapping("config") if taken.has("config") else None,
    }
    if rest["config"] is not None and digest_of(rest["config"]) != counted["config_digest"]:
        refuse("config_digest does not follow from its config")
    if fingerprint_id(**counted) != rest["id"]:
        refuse("its id does not follow from its content")
    return counted | rest


def _check_follows(stated: Mapping[str, Any], computed: Mapping[str, Any]) -> None:
    for key, value in computed.items():
        if stated[key] != value:
            refuse(f"{key} does not follow from its content")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _record(item: TensorLeaf | LinearModule) -> dict[str, Any]:
    return {field.name: _plain(getattr(item, field.name)) for field in fields(item)}
