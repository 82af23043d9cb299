from datetime import UTC, datetime

import pytest
from google.protobuf.descriptor import FieldDescriptor

from services.common.errors import DomainError, Reason
from services.common.manifest import Provenance
from services.common.resource_names import AdapterVersionName, BaseModelName
from services.common.signing import Envelope
from services.common.signing.envelope import MAX_SIGNATURES
from services.registry import convert
from services.registry.model import AdapterVersion, etag
from tenon.registry.v1 import adapter_pb2
from tenon.registry.v1 import base_model_pb2 as pb
from tests.support.registry import fingerprint

SAMPLE = fingerprint()
OTHER = {FieldDescriptor.CPPTYPE_STRING: "other", FieldDescriptor.CPPTYPE_INT64: 7}


def test_a_fingerprint_holds_every_field_of_its_summary() -> None:
    message = convert.fingerprint(SAMPLE, b"document")
    summary = SAMPLE.summary()
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.name == "document":
            assert value == b"document"
        elif field.name == "component_roots":
            assert dict(value) == summary[field.name]
        else:
            assert value == (summary[field.name] or "")


@pytest.mark.parametrize("field", [f.name for f in pb.Fingerprint.DESCRIPTOR.fields if f.name != "document"])
def test_every_field_that_is_stated_must_follow(field: str) -> None:
    stated = convert.fingerprint(SAMPLE)
    convert.check_stated(stated, SAMPLE)
    if field == "component_roots":
        stated.component_roots["vision_tower"] = "other"
    else:
        setattr(stated, field, OTHER[stated.DESCRIPTOR.fields_by_name[field].cpp_type])
    with pytest.raises(DomainError) as caught:
        convert.check_stated(stated, SAMPLE)
    assert caught.value.reason is Reason.FINGERPRINT_INVALID
    assert caught.value.metadata["field"] == field


def test_etags_are_quoted_and_differ() -> None:
    assert etag(10) == '"a"'
    assert len({etag(n) for n in range(100)}) == 100


def test_the_envelope_has_the_newest_signatures_and_can_be_read() -> None:
    signatures = {f"{n:064x}": bytes(64) for n in range(MAX_SIGNATURES + 1)}
    version = AdapterVersion(
        name=AdapterVersionName("default", "wukong", "0" * 64),
        manifest=b"{}",
        base_model=BaseModelName("tiny"),
        base_fingerprint_id="0" * 64,
        training_job="",
        files=(),
        number=1,
        provenance=Provenance.DECLARED,
        signatures=signatures,
        create_time=datetime.now(UTC),
        ready_time=None,
    )
    message = convert.version(version)
    assert list(message.signer_key_ids) == list(signatures)
    assert set(Envelope.from_bytes(message.envelope).signatures) == set(list(signatures)[:MAX_SIGNATURES])
    assert message.provenance == adapter_pb2.PROVENANCE_DECLARED
