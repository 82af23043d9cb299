"""What can answer, and what is in memory."""

from gateway.mapping.adapters import version_object
from gateway.mapping.times import rfc3339, unix
from gateway.names import last_part, public_version
from gateway.schemas.adapters import Adapter
from gateway.schemas.models import LoadedModel, Model, ModelExtension
from tenon.inference.v1 import inference_pb2
from tenon.registry.v1 import adapter_pb2, base_model_pb2


def base_as_model(base: base_model_pb2.BaseModel, model_id: str = "") -> Model:
    """Write a base, under the id it was asked by."""
    base_id = last_part(base.name)
    return Model(
        id=model_id or base_id,
        created=unix(base.create_time),
        tenon=ModelExtension(kind="base", base_model=base_id, version=None, state=None, provenance=None, aliases=[]),
    )


def adapter_as_model(adapter: Adapter, message: adapter_pb2.Adapter) -> Model:
    """Write an adapter."""
    return Model(
        id=adapter.id,
        created=unix(message.create_time),
        tenon=ModelExtension(
            kind="adapter",
            base_model=adapter.base_model,
            version=adapter.latest_version,
            state=adapter.state,
            provenance=adapter.provenance,
            aliases=[alias.id for alias in adapter.aliases],
        ),
    )


def version_as_model(message: adapter_pb2.AdapterVersion, model_id: str) -> Model:
    """Write what an alias or a version stands for, under the id it was asked by."""
    version = version_object(message)
    return Model(
        id=model_id,
        created=unix(message.create_time),
        tenon=ModelExtension(
            kind="adapter",
            base_model=version.base_model,
            version=version.id,
            state=version.state,
            provenance=version.provenance,
            aliases=[],
        ),
    )


def loaded_model(model: inference_pb2.LoadedModel) -> LoadedModel:
    """Write what is in memory."""
    identity = model.identity
    return LoadedModel(
        base_model=last_part(identity.base_model),
        base_fingerprint_id=identity.base_fingerprint_id,
        adapter_version=public_version(identity.adapter_version) or None,
        applied_tensors=model.applied_tensors,
        total_tensors=model.total_tensors,
        compute=model.compute,
        size_bytes=model.size_bytes,
        load_time=rfc3339(model, "load_time"),
    )
