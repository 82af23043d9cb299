"""Models: what can answer."""

from typing import Literal

from pydantic import ConfigDict, Field

from gateway.schemas.adapters import Provenance, VersionState
from gateway.schemas.common import Accepted, Answered


class ModelExtension(Answered):
    """What is ours about a model."""

    kind: Literal["base", "adapter"]
    base_model: str | None = Field(description="The base it runs on; null for an adapter without versions.")
    version: str | None = Field(description="The adapter's version; null for a base.")
    state: VersionState | None = Field(
        description="State of the version: it answers while it is ready; null for a base."
    )
    provenance: Provenance | None = Field(description="Who vouches for the version's base; null for a base.")
    aliases: list[str]


class Model(Answered):
    """A base or an adapter."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["tenon"] = "tenon"
    tenon: ModelExtension


class ModelList(Answered):
    """All models."""

    object: Literal["list"] = "list"
    data: list[Model]


class ModelDeleted(Answered):
    """A model that is gone."""

    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True


class LoadModel(Accepted):
    """How to load a model."""

    model_config = ConfigDict(json_schema_extra={"example": {"base_model": "qwen-small"}})

    base_model: str | None = Field(None, max_length=256, description="Refuse if it was trained on another base.")


class LoadedModel(Answered):
    """A base or an adapter in memory."""

    object: Literal["loaded_model"] = "loaded_model"
    base_model: str
    base_fingerprint_id: str
    adapter_version: str | None = Field(description="adapter@version; null for a base.")
    applied_tensors: int
    total_tensors: int
    compute: str
    size_bytes: int
    load_time: str | None


class UnloadedModel(Answered):
    """A base or an adapter that is not in memory."""

    object: Literal["unloaded_model"] = "unloaded_model"
    model: str
    unloaded: bool = Field(description="Whether it was in memory before.")
