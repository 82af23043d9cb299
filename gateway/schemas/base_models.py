"""Base models."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from gateway.schemas.common import Accepted, Answered, Page, Query


class CreateBaseModel(Accepted):
    """A base to register; ``tenon fingerprint DIR --json`` makes the document."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "qwen2-small",
                    "display_name": "Qwen small",
                    "sources": ["file:///models/qwen2-small"],
                    "fingerprint_document": {"scheme": "tenon.base/1"},
                }
            ]
        }
    )

    id: str = Field(max_length=256, description="1 to 63 of a-z, 0-9, '.', '_' and '-'.")
    display_name: str = Field("", max_length=1024, description="For people.")
    sources: list[str] = Field(min_length=1, max_length=64, description="hf://repository@commit, file:///directory …")
    fingerprint_document: dict[str, Any] = Field(description="What the base is, of scheme tenon.base/1.")


class Fingerprint(Answered):
    """What a base is; digests are 64 hex digits, or empty where there is no such part."""

    scheme: str
    id: str
    architecture: str
    model_type: str
    code_digest: str
    config_digest: str
    structure_root: str
    weights_root: str
    component_roots: dict[str, str]
    tokenizer_digest: str
    chat_template_digest: str
    processor_digest: str
    parameter_count: int
    derived_from: str
    document: dict[str, Any] | None = Field(None, description="Only with view=full.")


class BaseModelObject(Answered):
    """A base."""

    id: str
    object: Literal["base_model"] = "base_model"
    display_name: str
    fingerprint: Fingerprint
    sources: list[str]
    create_time: str | None
    update_time: str | None
    etag: str


class BaseModelPage(Page):
    """Which bases to list."""

    fingerprint_id: str = Field("", max_length=64, description="Only those with this fingerprint.")


class View(Query):
    """How much of a base to answer."""

    view: Literal["basic", "full"] = Field("basic", description="full adds the fingerprint document.")
