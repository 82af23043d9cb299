"""What of the sequential engine needs no model."""

import asyncio
import threading
from typing import Any

import pytest
from torch import nn

from services.inference.engine.protocol import AdapterWeights
from services.inference.engine.sequential.engine import SequentialEngine
from tests.unit.inference.engine import Observed


async def test_cancelled_attach_ends_before_it_is_told_so_that_what_it_attached_can_be_detached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model: Any = nn.Linear(1, 1)
    engine = SequentialEngine(model, (), Observed(), queue_size=1)
    began, go_on = threading.Event(), threading.Event()
    attached: list[str] = []

    def attach(adapter: AdapterWeights) -> None:
        began.set()
        go_on.wait(10)
        attached.append(adapter.digest)

    monkeypatch.setattr(engine._adapted, "attach", attach)
    attaching = asyncio.create_task(engine.attach(AdapterWeights("a", ())))
    await asyncio.to_thread(began.wait, 10)
    attaching.cancel()
    await asyncio.sleep(0)
    assert not attaching.done()

    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await attaching

    assert attached == ["a"]
    await engine.close()
