"""Registry or store gone in the middle: UNAVAILABLE for what needs them, and recovery without a restart."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import grpc

from services.common.errors import DomainError, Reason
from tests.contract.inference.samples import make_adapter
from tests.e2e.inference.conftest import Base
from tests.e2e.inference.service import StartInference, Suite, running_inference
from tests.support.registry import registry_settings, running_registry


async def test_registry_that_is_gone_and_comes_back(
    postgres_url: str, root: Path, tmp_path: Path, directories: Callable[..., Path]
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    settings = registry_settings(postgres_url, root / "artifacts").model_copy(update={"listen": address})
    async with running_inference(address, root / "artifacts", tmp_path, root / "bases") as suite:
        async with running_registry(settings):
            name, _ = await suite.add_base(directories("qwen2"))
            want = (await suite.ask(name)).text
        error = await suite.refusal(name)
        assert (error.reason, error.code) == (Reason.SERVICE_UNAVAILABLE, grpc.StatusCode.UNAVAILABLE)
        assert error.retry_after
        async with running_registry(settings):
            assert await answer_again(suite, name) == want


async def test_store_that_is_gone_and_comes_back(
    start_inference: StartInference, suite: Suite, root: Path, qwen: Base, wukong: str, directories: Callable[..., Path]
) -> None:
    cold = await suite.publish(make_adapter(directories("qwen2"), root / "cold", seed=61), qwen)
    fresh = await start_inference()
    warm = (await fresh.ask(wukong)).text
    artifacts = root / "artifacts"
    artifacts.rename(root / "unmounted")
    try:
        error = await fresh.refusal(cold)
        assert (error.reason, error.code) == (Reason.ARTIFACT_STORE_UNAVAILABLE, grpc.StatusCode.UNAVAILABLE)
        assert error.retry_after
        assert (await fresh.ask(wukong)).text == warm
        assert (await fresh.ask(qwen[0])).text
    finally:
        (root / "unmounted").rename(artifacts)
    assert (await fresh.ask(cold)).text


async def answer_again(suite: Suite, model: str) -> str:
    """Ask as a client does that was told when to try again."""
    async with asyncio.timeout(20):
        while True:
            try:
                return (await suite.ask(model)).text
            except DomainError as error:
                if error.reason is not Reason.SERVICE_UNAVAILABLE:
                    raise
                await asyncio.sleep(error.retry_after or 0)
