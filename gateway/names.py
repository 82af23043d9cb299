"""Ids of REST to and from resource names: the project is that of the request's key, and ``model`` has a small grammar of its own.

``model`` is ``base/ID`` (a base), ``ADAPTER:ALIAS``, ``ADAPTER@VERSION``, or an ID that is a base or an adapter.
"""

import asyncio
from collections.abc import Awaitable
from typing import Final

from gateway.auth import current_project
from gateway.services import Services
from services.common.errors import DomainError, Reason, Violation
from services.common.resource_names import (
    AdapterName,
    AdapterVersionName,
    AliasName,
    BaseModelName,
    DatasetName,
    ProjectName,
    TrainingJobName,
    check_slug,
)
from tenon.registry.v1 import adapter_pb2, base_model_pb2


def parent() -> str:
    """The project of the request at hand."""
    return str(ProjectName(current_project()))


BASE_PREFIX: Final = "base/"

ModelName = BaseModelName | AdapterName | AdapterVersionName | AliasName


def last_part(name: str) -> str:
    """The id at the end of a resource name; empty for an empty name."""
    return name.rpartition("/")[2]


def base_model_name(base_id: str, field: str = "model") -> BaseModelName:
    """The base of an id, with or without ``base/``."""
    return BaseModelName(check_slug(base_id.removeprefix(BASE_PREFIX), field))


def adapter_name(adapter_id: str, field: str = "adapter") -> AdapterName:
    """The adapter of an id."""
    return AdapterName(current_project(), check_slug(adapter_id, field))


def version_name(adapter: AdapterName, version: str, field: str = "version") -> AdapterVersionName:
    """The version of an adapter, by its digest."""
    return AdapterVersionName.parse(f"{adapter}/versions/{version}", field)


def dataset_name(file_id: str, field: str = "file_id") -> DatasetName:
    """The data set that REST calls a file."""
    return DatasetName(current_project(), check_slug(file_id, field))


def job_name(job_id: str) -> TrainingJobName:
    """The job of an id."""
    return TrainingJobName(current_project(), check_slug(job_id, "fine_tuning_job_id"))


def public_version(name: str) -> str:
    """How REST writes an adapter version's full name: ``adapter@digest``; empty for an empty name."""
    if not name:
        return ""
    version = AdapterVersionName.parse(name)
    return f"{version.adapter}@{version.version}"


def parse_model(model: str) -> ModelName | str:
    """Read ``model`` as far as it can be without asking: a name, or the id of a base or an adapter.

    Raises:
        DomainError: INVALID_ARGUMENT.
    """
    if model.startswith(BASE_PREFIX):
        return base_model_name(model)
    adapter, at, version = model.partition("@")
    if at:
        return version_name(adapter_name(adapter, "model"), version, "model")
    adapter, colon, alias = model.partition(":")
    if colon:
        return AliasName(current_project(), check_slug(adapter, "model"), check_slug(alias, "model"))
    return check_slug(model, "model")


async def resolve_model(services: Services, model: str) -> ModelName:
    """Find what ``model`` names.

    Raises:
        DomainError: INVALID_ARGUMENT: malformed, or both a base and an adapter; MODEL_NOT_FOUND: neither.
    """
    parsed = parse_model(model)
    if not isinstance(parsed, str):
        return parsed
    base, adapter = BaseModelName(parsed), AdapterName(current_project(), parsed)
    is_base, is_adapter = await asyncio.gather(
        _exists(services.base_models.GetBaseModel(base_model_pb2.GetBaseModelRequest(name=str(base)))),
        _exists(services.adapters.GetAdapter(adapter_pb2.GetAdapterRequest(name=str(adapter)))),
    )
    if is_base and is_adapter:
        text = f"{model!r} is both a base and an adapter. Write base/{model} or {model}:latest."
        raise DomainError(Reason.INVALID_ARGUMENT, text, {"model": model}, violations=[Violation("model", text)])
    if not is_base and not is_adapter:
        text = f"There is no base model and no adapter {model!r}. GET /v1/models lists what there is."
        raise DomainError(Reason.MODEL_NOT_FOUND, text, {"model": model})
    return base if is_base else adapter


async def _exists(call: Awaitable[object]) -> bool:
    try:
        await call
    except DomainError as error:
        if error.reason in {Reason.BASE_MODEL_NOT_FOUND, Reason.ADAPTER_NOT_FOUND}:
            return False
        raise
    return True
