"""What is in memory, as a list that can be paged through."""

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
    """One page of what is in memory, bases first, each followed by its adapters, and the token of the next page.

    Raises:
        DomainError: INVALID_ARGUMENT for a page size or token that cannot be.
    """
    limit, after = page_limit(page_size), decode_page_token(page_token, _SCOPE)
    models = sorted((model for hosted in bases.hosted() for model in _models(hosted)), key=_key)
    left = [model for model in models if _key(model) > after]
    token = encode_page_token(_key(left[limit - 1]), _SCOPE) if len(left) > limit else ""
    return left[:limit], token


def _models(hosted: HostedBase) -> list[LoadedModel]:
    return [describe_base(hosted), *(describe_adapter(hosted, adapter) for adapter in hosted.adapters.loaded())]


def _key(model: LoadedModel) -> str:
    # A space sorts before every character of a name, so that a base comes before its adapters.
    return f"{model.identity.base_model} {model.identity.adapter_version}"
