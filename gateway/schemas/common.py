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
    """Base of what is answered."""

    model_config = ConfigDict(frozen=True)


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

    object: Literal["list"] = "list"
    data: list[T]
    next_page_token: str = Field("", description="Empty at the end.")


class CursorListing(Answered, Generic[T]):
    """One of OpenAI's lists."""

    object: Literal["list"] = "list"
    data: list[T]
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None


class Violation(Answered):
    """A field that is wrong."""

    field: str
    description: str


class ErrorDetails(Answered):
    """What is ours about an error."""

    metadata: dict[str, str]
    violations: list[Violation]


class ErrorObject(Answered):
    """An error as OpenAI's clients know it."""

    message: str
    type: str
    param: str | None
    code: str
    details: ErrorDetails


class ErrorAnswer(Answered):
    """Every answer that is no success."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "error": {
                    "message": "Adapter wukong was trained on base qwen-small; this request expects gpt2-small.",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": "adapter_base_mismatch",
                    "details": {"metadata": {"verdict": "ARCHITECTURE_DIFFERS"}, "violations": []},
                }
            }
        }
    )

    error: ErrorObject
