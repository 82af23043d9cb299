"""Resource names as the contracts spell them, parsed before any of their parts is used.

``projects/default/adapters/wukong`` and the like (https://google.aip.dev/122). A part is a slug: 1 to 63 characters of
a-z, 0-9, '-', '_' and '.', starting and ending with a letter or digit; so none can be a path of its own.
"""

import re
from dataclasses import astuple, dataclass
from typing import ClassVar, Final, Self

from services.common.errors import DomainError, Reason, Violation

DEFAULT_PROJECT: Final = "default"
"""The project that is always there."""

_SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
# Projects are parts of S3 keys and one day of host names, so they get no dots and no underscores.
_PROJECT: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def check_slug(value: str, field: str) -> str:
    """Return an id as it is, or raise INVALID_ARGUMENT naming the field."""
    if not _SLUG.fullmatch(value):
        raise invalid_name(
            field,
            f"{_shown(value)} is not a valid id: use 1 to 63 of a-z, 0-9, '-', '_' and '.', "
            "starting and ending with a letter or digit.",
        )
    return value


def is_project(value: str) -> bool:
    """Whether a text can be a project's id."""
    return _PROJECT.fullmatch(value) is not None


def invalid_name(field: str, text: str) -> DomainError:
    """The error of a name that cannot be one."""
    return DomainError(Reason.INVALID_ARGUMENT, text, {"field": field}, violations=[Violation(field, text)])


def _shown(value: str) -> str:
    return repr(value if len(value) <= 80 else f"{value[:77]}...")


@dataclass(frozen=True, slots=True)
class ResourceName:
    """Base of all names: a pattern, and one attribute for each of its parts, in order."""

    pattern: ClassVar[str]

    @classmethod
    def parse(cls, name: str, field: str = "name") -> Self:
        """Read a full name.

        Raises:
            DomainError: INVALID_ARGUMENT naming the field and the pattern expected.
        """
        literals, parts = cls.pattern.split("/"), name.split("/")
        if len(literals) != len(parts) or any(
            want != got for want, got in zip(literals, parts, strict=True) if not want.startswith("{")
        ):
            raise invalid_name(field, f"{_shown(name)} is not of the form {cls.pattern}.")
        values = [got for want, got in zip(literals, parts, strict=True) if want.startswith("{")]
        for want, value in zip([part for part in literals if part.startswith("{")], values, strict=True):
            if want == "{version}":
                _check_digest(value, field)
            elif want == "{project}":
                _check_project(value, field)
            else:
                check_slug(value, field)
        return cls(*values)

    def __str__(self) -> str:
        """The full name."""
        values = iter(astuple(self))
        return "/".join(next(values) if part.startswith("{") else part for part in self.pattern.split("/"))


def _check_project(value: str, field: str) -> None:
    if not is_project(value):
        raise invalid_name(
            field,
            f"{_shown(value)} is not a project: use 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or "
            "digit.",
        )


def _check_digest(value: str, field: str) -> None:
    if not _DIGEST.fullmatch(value):
        raise invalid_name(field, f"{_shown(value)} is not a version: versions are 64 lower-case hex digits.")


@dataclass(frozen=True, slots=True)
class ProjectName(ResourceName):
    """``projects/{project}``."""

    pattern: ClassVar[str] = "projects/{project}"
    project: str


@dataclass(frozen=True, slots=True)
class BaseModelName(ResourceName):
    """``baseModels/{base_model}``."""

    pattern: ClassVar[str] = "baseModels/{base_model}"
    base_model: str


@dataclass(frozen=True, slots=True)
class AdapterName(ResourceName):
    """``projects/{project}/adapters/{adapter}``."""

    pattern: ClassVar[str] = "projects/{project}/adapters/{adapter}"
    project: str
    adapter: str


@dataclass(frozen=True, slots=True)
class AdapterVersionName(ResourceName):
    """``projects/{project}/adapters/{adapter}/versions/{version}``; the version is its manifest's SHA-256."""

    pattern: ClassVar[str] = "projects/{project}/adapters/{adapter}/versions/{version}"
    project: str
    adapter: str
    version: str


@dataclass(frozen=True, slots=True)
class AliasName(ResourceName):
    """``projects/{project}/adapters/{adapter}/aliases/{alias}``."""

    pattern: ClassVar[str] = "projects/{project}/adapters/{adapter}/aliases/{alias}"
    project: str
    adapter: str
    alias: str


@dataclass(frozen=True, slots=True)
class DatasetName(ResourceName):
    """``projects/{project}/datasets/{dataset}``."""

    pattern: ClassVar[str] = "projects/{project}/datasets/{dataset}"
    project: str
    dataset: str


@dataclass(frozen=True, slots=True)
class TrainingJobName(ResourceName):
    """``projects/{project}/trainingJobs/{training_job}``."""

    pattern: ClassVar[str] = "projects/{project}/trainingJobs/{training_job}"
    project: str
    training_job: str


def parse_adapter_reference(name: str, field: str = "name") -> AdapterName | AdapterVersionName | AliasName:
    """Read the name of an adapter, one of its versions or one of its aliases."""
    kinds: dict[str, type[AdapterVersionName | AliasName]] = {"versions": AdapterVersionName, "aliases": AliasName}
    parts = name.split("/")
    kind = kinds.get(parts[4]) if len(parts) == 6 else None
    return kind.parse(name, field) if kind else AdapterName.parse(name, field)


@dataclass(frozen=True, slots=True)
class ApiKeyName(ResourceName):
    """``projects/{project}/apiKeys/{api_key}``."""

    pattern: ClassVar[str] = "projects/{project}/apiKeys/{api_key}"
    project: str
    api_key: str
