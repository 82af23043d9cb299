"""The use case: the memory of a base or an adapter is given back, and nobody's answer is cut short for it."""

from services.common.resource_names import AdapterVersionName, BaseModelName, parse_adapter_reference
from services.inference.bases import BasePool
from services.inference.registry import Registry


class Unloader:
    """Unloads models."""

    def __init__(self, registry: Registry, bases: BasePool) -> None:
        """Use these."""
        self._registry = registry
        self._bases = bases

    async def unload(self, model: str) -> bool:
        """Unload a model at the first moment at which no request uses it; cancelling it leaves everything as it was.

        Args:
            model: name of a base, an adapter, an alias or a version. A base or version is found by its own name also where
                the registry would not let it answer any more.

        Returns:
            Whether it was in memory.

        Raises:
            DomainError: see UnloadModel in inference.proto.
        """
        if model.startswith("baseModels/"):
            return await self._bases.unload(str(BaseModelName.parse(model, "model")))
        digest = await self._digest(model)
        found = [await hosted.adapters.unload(digest) for hosted in self._bases.hosted()]
        return any(found)

    async def _digest(self, model: str) -> str:
        reference = parse_adapter_reference(model, "model")
        if isinstance(reference, AdapterVersionName):
            return reference.version
        return (await self._registry.resolve(str(reference))).name.version
