"""Bases, adapters and models."""

from typing import Final

from gateway.schemas.adapters import Adapter, AdapterFile, AdapterVersion, Alias
from gateway.schemas.base_models import BaseModelObject, Fingerprint
from gateway.schemas.common import Deleted
from gateway.schemas.models import LoadedModel, Model, ModelDeleted, ModelExtension, ModelList, UnloadedModel
from gateway.schemas.storage import GarbageCollection

VERSION: Final = "7c000a8cab371dfaaf9f28235de519554ac43902705393f04ba44561c54c2046"
FINGERPRINT: Final = "6b328bb82576beb5140cd257183f3abf19a176178672fafa8bd1758c238529fc"
JOB: Final = "ftjob-0f1e2d3c4b5a6978"
BASE: Final = "qwen2-small"
_DIGEST: Final = "e64ec4c608c7a7f2a0b1d1b3f5b4d6e2c8a9f0e1d2c3b4a5968778695a4b3c2d"
_TIME: Final = "2026-03-02T09:14:07Z"
_SECONDS: Final = 1772442847

ALIAS: Final = Alias(id="stable", version=VERSION, update_time=_TIME, etag="W/3", gated=True, reason=None)

ADAPTER: Final = Adapter(
    id="wukong",
    display_name="Sun Wukong",
    description="Speaks like the Monkey King.",
    base_model=BASE,
    latest_version=VERSION,
    state="ready",
    provenance="witnessed",
    aliases=[ALIAS],
    create_time=_TIME,
    update_time=_TIME,
    etag="W/1",
)

DELETED: Final = Deleted(id="wukong", object="adapter")

ADAPTER_VERSION: Final = AdapterVersion(
    id=VERSION,
    adapter="wukong",
    state="ready",
    provenance="witnessed",
    signed_by=["888360d0913c5a2b"],
    base_model=BASE,
    base_fingerprint_id=FINGERPRINT,
    training_job=JOB,
    files=[AdapterFile(path="adapter_model.safetensors", size_bytes=1_743_912, sha256=_DIGEST)],
    create_time=_TIME,
    ready_time=_TIME,
    revoke_time=None,
    revoke_reason=None,
)

BASE_MODEL: Final = BaseModelObject(
    id=BASE,
    display_name="Qwen2 small",
    fingerprint=Fingerprint(
        scheme="tenon.base/1",
        id=FINGERPRINT,
        architecture="Qwen2ForCausalLM",
        model_type="qwen2",
        code_digest="",
        config_digest=_DIGEST,
        structure_root=_DIGEST,
        weights_root=_DIGEST,
        component_roots={"model": _DIGEST},
        tokenizer_digest=_DIGEST,
        chat_template_digest=_DIGEST,
        processor_digest="",
        parameter_count=1_883_072,
        derived_from="",
    ),
    sources=["file:///models/qwen2-small"],
    create_time=_TIME,
    update_time=_TIME,
    etag="W/1",
)

MODEL: Final = Model(
    id="wukong",
    created=_SECONDS,
    tenon=ModelExtension(
        kind="adapter", base_model=BASE, version=VERSION, state="ready", provenance="witnessed", aliases=["stable"]
    ),
)

MODELS: Final = ModelList(
    data=[
        Model(
            id=BASE,
            created=_SECONDS,
            tenon=ModelExtension(kind="base", base_model=BASE, version=None, state=None, provenance=None, aliases=[]),
        ),
        MODEL,
    ]
)

LOADED_MODEL: Final = LoadedModel(
    base_model=BASE,
    base_fingerprint_id=FINGERPRINT,
    adapter_version=f"wukong@{VERSION}",
    applied_tensors=56,
    total_tensors=56,
    compute="float32 on cpu",
    size_bytes=1_743_912,
    load_time=_TIME,
)

GARBAGE_COLLECTION: Final = GarbageCollection(
    dry_run=False, blob_count=214, size_bytes=4_187_332_608, collected_count=9, collected_bytes=162_529_280
)

MODEL_DELETED: Final = ModelDeleted(id="wukong")

UNLOADED_MODEL: Final = UnloadedModel(model="wukong", unloaded=True)
