"""BaseModelService over the wire: what base_model.proto promises."""

import asyncio
from uuid import uuid4

import pytest
from grpc import StatusCode

from services.common.errors import Reason
from tenon.registry.v1 import base_model_pb2 as pb
from tests.e2e.registry.client import Registry, failure
from tests.support.registry import fingerprint

FULL = pb.BASE_MODEL_VIEW_FULL


def request(registry: Registry, **changes: object) -> pb.CreateBaseModelRequest:
    """Return a good request, with some of the fingerprint's fields or the model's sources replaced."""
    base = fingerprint()
    sources = changes.pop("sources", ["file:///models/tiny"])
    stated = pb.Fingerprint(scheme=base.scheme, id=base.id, document=base.to_document())
    for field, value in changes.items():
        setattr(stated, field, value)
    return pb.CreateBaseModelRequest(
        base_model_id=registry.base_model_id,
        base_model=pb.BaseModel(fingerprint=stated, sources=sources),  # type: ignore[arg-type]  # a list of texts
    )


async def test_it_is_answered_with_all_that_follows_from_its_document(registry: Registry) -> None:
    created = await registry.add_base()
    base = fingerprint()
    assert created.name == f"baseModels/{registry.base_model_id}"
    assert created.display_name == "Tiny"
    assert list(created.sources) == ["file:///models/tiny"]
    assert created.fingerprint.id == base.id
    assert created.fingerprint.weights_root == base.weights_root
    assert dict(created.fingerprint.component_roots) == base.component_roots
    assert created.fingerprint.parameter_count == 64
    assert created.fingerprint.processor_digest == ""
    assert created.fingerprint.document == b""
    assert created.create_time == created.update_time
    assert created.etag.startswith('"')


async def test_the_document_comes_in_the_full_view_only(registry: Registry) -> None:
    created = await registry.add_base()
    basic = await registry.base_models.GetBaseModel(pb.GetBaseModelRequest(name=created.name))
    full = await registry.base_models.GetBaseModel(pb.GetBaseModelRequest(name=created.name, view=FULL))
    assert basic.base_model == created
    assert full.base_model.fingerprint.document == fingerprint().to_document()


async def test_all_that_is_stated_rightly_is_taken(registry: Registry) -> None:
    created = await registry.add_base()
    stated = pb.Fingerprint()
    stated.CopyFrom(created.fingerprint)
    stated.document = fingerprint().to_document()
    again = pb.CreateBaseModelRequest(
        base_model_id=registry.base_model_id,
        base_model=pb.BaseModel(fingerprint=stated, sources=created.sources),
    )
    assert (await registry.base_models.CreateBaseModel(again)).base_model == created


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scheme": ""}, Reason.INVALID_ARGUMENT),
        ({"id": ""}, Reason.INVALID_ARGUMENT),
        ({"document": b""}, Reason.INVALID_ARGUMENT),
        ({"sources": []}, Reason.INVALID_ARGUMENT),
        ({"id": "0" * 64}, Reason.FINGERPRINT_INVALID),
        ({"weights_root": "0" * 64}, Reason.FINGERPRINT_INVALID),
        ({"parameter_count": 7}, Reason.FINGERPRINT_INVALID),
        ({"derived_from": "0" * 64}, Reason.FINGERPRINT_INVALID),
        ({"document": b"{}"}, Reason.FINGERPRINT_INVALID),
        ({"document": fingerprint().to_document().replace(b"F32", b"F16")}, Reason.FINGERPRINT_INVALID),
        ({"sources": ["/models/tiny"]}, Reason.BASE_SOURCE_INVALID),
        ({"sources": ["hf://Qwen/Qwen2.5-0.5B@main"]}, Reason.BASE_SOURCE_INVALID),
        ({"sources": ["hf://../x@" + "a" * 40]}, Reason.BASE_SOURCE_INVALID),
        ({"sources": ["file://host/models"]}, Reason.BASE_SOURCE_INVALID),
        ({"sources": ["file:models"]}, Reason.BASE_SOURCE_INVALID),
        ({"sources": ["s3://bucket/../x"]}, Reason.BASE_SOURCE_INVALID),
        ({"sources": ["https://host/model"]}, Reason.BASE_SOURCE_INVALID),
        ({"sources": ["file:///" + "x" * 3000]}, Reason.BASE_SOURCE_INVALID),
    ],
)
async def test_what_is_wrong_is_refused(registry: Registry, changes: dict[str, object], reason: Reason) -> None:
    error = await failure(registry.base_models.CreateBaseModel(request(registry, **changes)))
    assert (error.code, error.reason) == (StatusCode.INVALID_ARGUMENT, reason)
    get = registry.base_models.GetBaseModel(pb.GetBaseModelRequest(name=f"baseModels/{registry.base_model_id}"))
    assert (await failure(get)).reason is Reason.BASE_MODEL_NOT_FOUND


@pytest.mark.parametrize("base_model_id", ["", "A", "-a", "a/b", "x" * 64])
async def test_an_id_is_a_slug(registry: Registry, base_model_id: str) -> None:
    wrong = request(registry)
    wrong.base_model_id = base_model_id
    error = await failure(registry.base_models.CreateBaseModel(wrong))
    assert error.reason is Reason.INVALID_ARGUMENT
    assert [violation.field for violation in error.violations] == ["base_model_id"]


async def test_other_bytes_under_its_id_already_exist(registry: Registry) -> None:
    await registry.add_base()
    error = await failure(registry.add_base(fingerprint("other weights")))
    assert (error.code, error.reason) == (StatusCode.ALREADY_EXISTS, Reason.BASE_MODEL_EXISTS)


async def test_the_same_bytes_are_answered_with_the_model_and_new_sources_are_added(registry: Registry) -> None:
    first = await registry.add_base()
    assert await registry.add_base() == first
    commit = "hf://Qwen/Qwen2.5-0.5B@" + "a" * 40
    second = await registry.add_base(None, commit, "s3://models/tiny/")
    assert list(second.sources) == ["file:///models/tiny", commit, "s3://models/tiny/"]
    assert second.etag != first.etag


async def test_a_repeated_request_gets_the_first_answer(registry: Registry) -> None:
    request_id = str(uuid4())
    first = await registry.add_base(request_id=request_id)
    await registry.add_base(None, "s3://models/tiny")
    assert await registry.add_base(request_id=request_id) == first


async def test_of_two_bases_at_once_one_gets_the_id(registry: Registry) -> None:
    bases = (fingerprint(f"weights {n}") for n in range(6))
    outcomes = await asyncio.gather(*map(registry.add_base, bases), return_exceptions=True)
    assert sum(isinstance(outcome, pb.BaseModel) for outcome in outcomes) == 1


async def test_they_are_listed_and_a_wrong_page_is_refused(registry: Registry) -> None:
    created = await registry.add_base(fingerprint(registry.base_model_id))
    listed = await registry.base_models.ListBaseModels(
        pb.ListBaseModelsRequest(fingerprint_id=created.fingerprint.id, page_size=1)
    )
    assert list(listed.base_models) == [created]
    assert listed.next_page_token == ""
    for wrong in (pb.ListBaseModelsRequest(page_size=-1), pb.ListBaseModelsRequest(page_token="x")):
        error = await failure(registry.base_models.ListBaseModels(wrong))
        assert (error.code, error.reason) == (StatusCode.INVALID_ARGUMENT, Reason.INVALID_ARGUMENT)


async def test_an_unknown_name_is_not_found_and_a_wrong_one_is_invalid(registry: Registry) -> None:
    for name, code in (("baseModels/none", StatusCode.NOT_FOUND), ("models/x", StatusCode.INVALID_ARGUMENT)):
        error = await failure(registry.base_models.GetBaseModel(pb.GetBaseModelRequest(name=name)))
        assert error.code is code
