"""The console's session."""

from typing import Literal

from pydantic import ConfigDict, Field, SecretStr

from gateway.schemas.common import Accepted, Answered
from gateway.schemas.iam import ScopeName


class LogIn(Accepted):
    """The key to begin a session with."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"api_key": "tenon-0000000000000000000000000000000000000000"}]}
    )

    api_key: SecretStr = Field(max_length=256, description="The key.")


class Session(Answered):
    """Who is let in, and for what."""

    object: Literal["session"] = "session"
    principal: str = Field(description="The name of the key; anyone in a suite without keys.")
    project: str | None = Field(description="The key's project; null for a key of all projects.")
    scopes: list[ScopeName]
    prefix: str | None = Field(description="How the key begins; null in a suite without keys.")


class SessionEnded(Answered):
    """A session that is over."""

    object: Literal["session"] = "session"
    ended: Literal[True] = True
