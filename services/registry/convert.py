"""Between the contract's messages and the registry's values."""

from datetime import datetime
from itertools import islice
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from services.common.errors import DomainError, Reason
from services.common.identity import FingerprintSummary
from services.common.manifest import Provenance
from services.common.signing import Envelope
from services.common.signing.envelope import MAX_SIGNATURES
from services.registry.failures import invalid
from services.registry.model import Adapter, AdapterVersion, Alias, BaseModel, VersionState, etag
from services.registry.pages import PageRequest
from tenon.registry.v1 import adapter_pb2 as adapter_pb
from tenon.registry.v1 import base_model_pb2 as base_model_pb

_STATES: Final = {
    VersionState.PENDING: adapter_pb.AdapterVersion.STATE_PENDING,
    VersionState.READY: adapter_pb.AdapterVersion.STATE_READY,
    VersionState.REVOKED: adapter_pb.AdapterVersion.STATE_REVOKED,
}
_PROVENANCES: Final = {
    Provenance.WITNESSED: adapter_pb.PROVENANCE_WITNESSED,
    Provenance.DECLARED: adapter_pb.PROVENANCE_DECLARED,
}


def page_request(request: Any) -> PageRequest:
    """Read page_size and page_token of any list request."""
    return PageRequest(request.page_size, request.page_token)


def base_model(model: BaseModel) -> base_model_pb.BaseModel:
    """Make the message; in the FULL view where the model has its document."""
    return base_model_pb.BaseModel(
        name=str(model.name),
        display_name=model.display_name,
        fingerprint=fingerprint(model.fingerprint, model.document),
        sources=model.sources,
        create_time=_timestamp(model.create_time),
        update_time=_timestamp(model.update_time),
        etag=etag(model.revision),
    )


def fingerprint(summary: FingerprintSummary, document: bytes = b"") -> base_model_pb.Fingerprint:
    """Make the message; a digest the base does not have is empty there."""
    return base_model_pb.Fingerprint(
        scheme=summary.scheme,
        id=summary.id,
        architecture=summary.architecture,
        model_type=summary.model_type,
        code_digest=summary.code_digest or "",
        config_digest=summary.config_digest,
        structure_root=summary.structure_root,
        weights_root=summary.weights_root,
        component_roots=summary.component_roots,
        tokenizer_digest=summary.tokenizer_digest or "",
        chat_template_digest=summary.chat_template_digest or "",
        processor_digest=summary.processor_digest or "",
        parameter_count=summary.parameter_count,
        derived_from=summary.derived_from or "",
        document=document,
    )


def check_stated(stated: base_model_pb.Fingerprint, computed: FingerprintSummary) -> None:
    """Hold the fields that a caller states against those that follow from the document.

    Raises:
        DomainError: INVALID_ARGUMENT: scheme or id is not stated; FINGERPRINT_INVALID: a field says otherwise.
    """
    for required in ("scheme", "id"):
        if not getattr(stated, required):
            raise invalid(f"base_model.fingerprint.{required}", f"base_model.fingerprint.{required} is required.")
    follows = fingerprint(computed, stated.document)
    for field, _ in stated.ListFields():
        if getattr(stated, field.name) != getattr(follows, field.name):
            text = f"base_model.fingerprint.{field.name} does not follow from the document; send what it says."
            raise DomainError(Reason.FINGERPRINT_INVALID, text, {"field": field.name})


def adapter(model: Adapter) -> adapter_pb.Adapter:
    """Make the message."""
    return adapter_pb.Adapter(
        name=str(model.name),
        display_name=model.display_name,
        description=model.description,
        create_time=_timestamp(model.create_time),
        update_time=_timestamp(model.update_time),
        etag=etag(model.revision),
    )


def version(model: AdapterVersion) -> adapter_pb.AdapterVersion:
    """Make the message; without manifest and envelope where the model comes from a list."""
    return adapter_pb.AdapterVersion(
        name=str(model.name),
        state=_STATES[model.state],
        manifest=model.manifest,
        base_model=str(model.base_model),
        base_fingerprint_id=model.base_fingerprint_id,
        training_job=model.training_job,
        files=[
            adapter_pb.AdapterFile(path=file.path, size_bytes=file.size, sha256=file.sha256) for file in model.files
        ],
        create_time=_timestamp(model.create_time),
        ready_time=_timestamp(model.ready_time) if model.ready_time else None,
        envelope=_envelope(model),
        provenance=_PROVENANCES[model.provenance],
        revoke_time=_timestamp(model.revoke_time) if model.revoke_time else None,
        revoke_reason=model.revoke_reason,
        signer_key_ids=model.signatures,
    )


def alias(model: Alias) -> adapter_pb.Alias:
    """Make the message."""
    return adapter_pb.Alias(
        name=str(model.name),
        version=str(model.version),
        update_time=_timestamp(model.update_time),
        etag=etag(model.revision),
        gated=model.gated,
        reason=model.reason,
    )


def _envelope(model: AdapterVersion) -> bytes:
    if not model.manifest or not model.signatures:
        return b""
    # The newest: a version that has outlived many keys must not outgrow what readers of envelopes accept.
    newest = dict(islice(model.signatures.items(), MAX_SIGNATURES))
    return Envelope(model.manifest, newest).to_bytes()


def _timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
