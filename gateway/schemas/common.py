"""What the schemas of several resources share."""

from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

T = TypeVar("T")

MAX_INT32 = 2**31 - 1
MAX_INT64 = 2**63 - 1


class Accepted(BaseModel):
    """Base of what is sent: no unknown field, no type but the one named, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class Query(BaseModel):
    """Base of query parameters, which are all text: no unknown one."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answered(BaseModel):
    """Base of what is answered: every field is there, be it null, unless ``exclude_if`` leaves it out."""

    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


def is_none(value: object) -> bool:
    """Whether a field of an answer says nothing, for ``exclude_if``."""
    return value is None


class Deleted(Answered):
    """Something that is gone."""

    id: str
    object: str
    deleted: Literal[True] = True


@dataclass(frozen=True, slots=True)
class Only:
    """Marks a parameter of OpenAI's that is known and not supported: null and these values change nothing."""

    neutral: tuple[Any, ...] = ()
    advice: str = ""

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Accept what changes nothing."""
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """List what changes nothing."""
        return {"enum": [*self.neutral, None], "description": "Not supported yet: only the neutral value is accepted."}

    def _check(self, value: Any) -> Any:
        if value is None or value in self.neutral:
            return value
        instead = " or ".join(["leave it out", *(f"send {value!r}" for value in self.neutral)])
        advice = f" ({self.advice})" if self.advice else ""
        raise PydanticCustomError(
            "unsupported_parameter", "is not supported yet; {instead}{advice}", {"instead": instead, "advice": advice}
        )


Hint = Annotated[Any, Field(description="Accepted and not used: it changes no answer.")]


class Page(Query):
    """How much of one of Tenon's own lists to answer."""

    page_size: int = Field(0, ge=0, le=MAX_INT32, description="At most so many; 0 means 50, above 500 means 500.")
    page_token: str = Field("", max_length=4096, description="next_page_token of the page before.")


class Cursor(Query):
    """How much of one of OpenAI's lists to answer."""

    after: str | None = Field(None, max_length=256, description="Id of the last item of the page before.")
    limit: int = Field(20, ge=1, le=1000, description="At most so many.")


class Listing(Answered, Generic[T]):
    """One of Tenon's own lists."""

    model_config = ConfigDict(json_schema_extra={"description": "A page of a list."})

    object: Literal["list"] = "list"
    data: list[T] = Field(description="What is on this page.")
    next_page_token: str = Field("", description="Asks for the next page; empty at the end.")


class CursorListing(Answered, Generic[T]):
    """One of OpenAI's lists."""

    model_config = ConfigDict(json_schema_extra={"description": "A page of a list, in OpenAI's shape."})

    object: Literal["list"] = "list"
    data: list[T] = Field(description="What is on this page.")
    has_more: bool = Field(False, description="Whether there is another page.")
    first_id: str | None = Field(None, description="Id of the first item of this page.")
    last_id: str | None = Field(None, description="Id of the last item of this page; `after` of the next one.")
