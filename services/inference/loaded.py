"""What is in memory, as a list that can be paged through."""

from services.common.auth.caller import current_caller
from services.common.auth.projects import project_of
from services.common.paging import decode_page_token, encode_page_token, page_limit
from services.inference.adapters import LoadedAdapter
from services.inference.bases import BasePool, HostedBase
from services.inference.model import LoadedModel, Target

_SCOPE = "loadedModels"


def describe_base(hosted: HostedBase) -> LoadedModel:
    """A base in memory."""
    return LoadedModel(
        identity=Target(hosted.registered).identity,
        applied_tensors=hosted.engine.tensor_count,
        total_tensors=hosted.engine.tensor_count,
        compute=hosted.engine.compute,
        batching=hosted.engine.batching,
        batching_note=hosted.engine.batching_note,
        size_bytes=hosted.size_bytes,
        load_time=hosted.load_time,
    )


def describe_adapter(hosted: HostedBase, adapter: LoadedAdapter) -> LoadedModel:
    """An adapter in memory, on its base."""
    return LoadedModel(
        identity=Target(hosted.registered, adapter.version).identity,
        applied_tensors=adapter.applied_tensors,
        total_tensors=adapter.applied_tensors,
        compute=hosted.engine.compute,
        batching=hosted.engine.batching,
        batching_note=hosted.engine.batching_note,
        size_bytes=adapter.size_bytes,
        load_time=adapter.load_time,
    )


def list_loaded(bases: BasePool, page_size: int, page_token: str) -> tuple[list[LoadedModel], str]:
    """One page of what the caller may see in memory, bases first, each followed by its adapters, and the next page's token.

    Raises:
        DomainError: INVALID_ARGUMENT for a page size or token that cannot be.
    """
    limit, after = page_limit(page_size), decode_page_token(page_token, _SCOPE)
    models = sorted((model for hosted in bases.hosted() for model in _models(hosted)), key=_key)
    left = [model for model in models if _key(model) > after]
    token = encode_page_token(_key(left[limit - 1]), _SCOPE) if len(left) > limit else ""
    return left[:limit], token


def _models(hosted: HostedBase) -> list[LoadedModel]:
    adapters = (describe_adapter(hosted, adapter) for adapter in hosted.adapters.loaded())
    return [describe_base(hosted), *(adapter for adapter in adapters if _is_visible(adapter))]


def _is_visible(adapter: LoadedModel) -> bool:
    project = project_of(adapter.identity.adapter_version or "")
    return project is None or current_caller().may_touch(project)


def _key(model: LoadedModel) -> str:
    # A space sorts before every character of a name, so that a base comes before its adapters.
    return f"{model.identity.base_model} {model.identity.adapter_version}"
