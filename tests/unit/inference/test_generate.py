"""Which name a load is told under."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from services.common.resource_names import AdapterVersionName
from services.inference.adapters import LoadedAdapter
from services.inference.engine.protocol import Batching
from services.inference.generate import Generator
from services.inference.model import AdapterVersion, RegisteredBase, Target
from tests.support.registry import fingerprint, manifest
from tests.unit.inference.engine import unread_metrics


class Leases:
    """Leases the same thing to everybody."""

    def __init__(self, leased: Any) -> None:
        self._leased = leased

    @asynccontextmanager
    async def lease(self, _: object) -> AsyncIterator[Any]:
        yield self._leased


async def test_version_that_two_adapters_have_is_told_under_the_name_asked_for() -> None:
    made = manifest()
    one = AdapterVersion(AdapterVersionName("default", "one", made.digest), made, made.to_bytes(), b"")
    other = replace(one, name=AdapterVersionName("default", "other", made.digest))
    base = RegisteredBase("baseModels/tiny", fingerprint(), ())
    loaded = LoadedAdapter(one, 2, 64, datetime.now(UTC))
    engine = SimpleNamespace(compute="float32", batching=Batching.CONTINUOUS, batching_note="")
    hosted = SimpleNamespace(registered=base, engine=engine, adapters=Leases(loaded))

    async def resolve(_model: str, _base: str) -> Target:
        return Target(base, other)

    resolver: Any = SimpleNamespace(resolve=resolve)
    bases: Any = Leases(hosted)

    told = await Generator(resolver, bases, unread_metrics()).load("other", "")

    assert told.identity.adapter_version == str(other.name)
