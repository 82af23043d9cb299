"""Base models."""

import json
from typing import Any

from gateway.mapping.times import rfc3339
from gateway.names import last_part
from gateway.schemas.base_models import BaseModelObject, CreateBaseModel, Fingerprint
from services.common.identity import canonical_json
from tenon.registry.v1 import base_model_pb2


def create_request(base: CreateBaseModel, request_id: str) -> base_model_pb2.CreateBaseModelRequest:
    """Read a base to register.

    Raises:
        DomainError: FINGERPRINT_INVALID: the document has no canonical form.
    """
    document = base.fingerprint_document
    fingerprint = base_model_pb2.Fingerprint(
        scheme=_text(document, "scheme"), id=_text(document, "id"), document=canonical_json(document)
    )
    return base_model_pb2.CreateBaseModelRequest(
        base_model_id=base.id,
        base_model=base_model_pb2.BaseModel(
            display_name=base.display_name, fingerprint=fingerprint, sources=base.sources
        ),
        request_id=request_id,
    )


def base_model_object(base: base_model_pb2.BaseModel) -> BaseModelObject:
    """Write a base."""
    return BaseModelObject(
        id=last_part(base.name),
        display_name=base.display_name,
        fingerprint=_fingerprint(base.fingerprint),
        sources=list(base.sources),
        create_time=rfc3339(base, "create_time"),
        update_time=rfc3339(base, "update_time"),
        etag=base.etag,
    )


def _fingerprint(print_: base_model_pb2.Fingerprint) -> Fingerprint:
    return Fingerprint(
        scheme=print_.scheme,
        id=print_.id,
        architecture=print_.architecture,
        model_type=print_.model_type,
        code_digest=print_.code_digest,
        config_digest=print_.config_digest,
        structure_root=print_.structure_root,
        weights_root=print_.weights_root,
        component_roots=dict(print_.component_roots),
        tokenizer_digest=print_.tokenizer_digest,
        chat_template_digest=print_.chat_template_digest,
        processor_digest=print_.processor_digest,
        parameter_count=print_.parameter_count,
        derived_from=print_.derived_from,
        document=json.loads(print_.document) if print_.document else None,
    )


def _text(document: dict[str, Any], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""
