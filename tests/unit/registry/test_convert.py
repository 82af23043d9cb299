import pytest
from google.protobuf.descriptor import FieldDescriptor

from services.common.errors import DomainError, Reason
from services.registry import convert
from services.registry.model import etag
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
