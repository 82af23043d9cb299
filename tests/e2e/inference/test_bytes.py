"""Nothing larger than headers is fetched for an adapter that is refused by its manifest, its base or its header.

Counted on both stores: on the file store what is read from it, on S3 every byte that its server sends.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Protocol

import pytest
import torch

from services.common.artifacts.names import blob_key
from services.common.artifacts.s3 import S3Server, S3Store
from services.common.artifacts.store import ArtifactStore
from services.common.errors import Reason
from services.common.identity import BaseFingerprint
from services.common.manifest import Provenance
from tests.contract.artifacts.backends import BUCKET
from tests.contract.inference.samples import CONFIG, WEIGHTS, edit_config, edit_weights, file_of, make_adapter
from tests.e2e.inference.service import CountingStore, Suite, running_inference
from tests.support.keys import STRANGERS_KEY
from tests.support.registry import registry_settings, running_registry
from tests.support.s3.configuration import ACCESS_KEY, REGION, SECRET_KEY
from tests.support.s3.meter import Meter
from tests.support.s3.process import S3Process
from tests.support.tiny_bases import make_tiny_base

MIB: Final = 1024 * 1024
RANK: Final = 3000
"""So that the weights take some MiB, and their header some KiB."""
REQUESTS: Final = 4
"""How often ``refused`` asks: a refusal is not remembered, and the next one costs no more than the first."""
OVERHEAD: Final = REQUESTS * 8 * 1024
"""More than the headers of S3's answers take, and a hundredth of the weights."""


class Line(Protocol):
    """A store, and how much came over the line from it."""

    @property
    def store(self) -> ArtifactStore: ...

    @property
    def sent(self) -> int: ...

    def overwrite(self, digest: str, data: bytes) -> None:
        """Replace the stored bytes of a blob, as no store would."""

    def settings(self, root: Path) -> dict[str, Any]:
        """How a registry reaches it."""


@dataclass
class FileLine:
    root: Path
    store: CountingStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = CountingStore.open(self.root)

    @property
    def sent(self) -> int:
        return self.store.bytes_read

    def overwrite(self, digest: str, data: bytes) -> None:
        path = self.root / blob_key("default", digest)
        path.chmod(0o600)
        path.write_bytes(data)

    def settings(self, root: Path) -> dict[str, Any]:
        return {"artifacts_url": self.root.as_uri()}


class S3Line:
    def __init__(self, process: S3Process, meter: Meter) -> None:
        self._process, self._meter = process, meter
        self.store = S3Store(S3Server(meter.endpoint, ACCESS_KEY, SECRET_KEY, REGION, secure=False), BUCKET)

    @property
    def sent(self) -> int:
        return self._meter.sent

    def overwrite(self, digest: str, data: bytes) -> None:
        self._process.client().put_object(BUCKET, blob_key("default", digest), BytesIO(data), len(data))

    def settings(self, root: Path) -> dict[str, Any]:
        return {
            "artifacts_url": f"s3://{BUCKET}",
            "s3_endpoint": self._process.endpoint,
            "s3_access_key": ACCESS_KEY,
            "s3_secret_key": SECRET_KEY,
            "s3_secure": False,
        }


@pytest.fixture(scope="module")
def s3_process(root: Path) -> Iterator[S3Process]:
    process = S3Process(root / "s3")
    process.start()
    try:
        process.client().make_bucket(BUCKET)
        yield process
    finally:
        process.stop()


@pytest.fixture(scope="module", params=["directory", "s3"])
def line(request: pytest.FixtureRequest, root: Path) -> Iterator[Line]:
    if request.param == "directory":
        yield FileLine(root / "counted")
        return
    process: S3Process = request.getfixturevalue("s3_process")
    with Meter(process.endpoint) as meter:
        yield S3Line(process, meter)


@dataclass(frozen=True)
class Place:
    """A registry on the store, a base with an adapter of some MiB, and inference services with an empty cache."""

    line: Line
    base: tuple[str, BaseFingerprint]
    other: tuple[str, BaseFingerprint]
    adapter: Path
    start: Callable[..., Any]


@pytest.fixture(scope="module")
async def registry_address(postgres_url: str, line: Line, root: Path) -> AsyncIterator[str]:
    settings = registry_settings(postgres_url, root / "counted")
    chosen = type(settings).model_validate(settings.model_dump() | line.settings(root))
    async with running_registry(chosen) as server:
        yield server.address


@pytest.fixture
async def place(
    registry_address: str, line: Line, root: Path, tmp_path: Path, directories: Callable[..., Path]
) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        numbers = iter(range(100))

        async def start(**settings: Any) -> Suite:
            cache = tmp_path / f"cache-{next(numbers)}"
            service = running_inference(
                registry_address, root / "counted", cache, root / "bases", store=line.store, **settings
            )
            return await stack.enter_async_context(service)

        adapter = root / "large adapter"
        if not adapter.exists():
            make_adapter(directories("qwen2"), adapter, r=RANK)
        assert (adapter / WEIGHTS).stat().st_size > 4 * MIB
        suite = await start()
        other = root / "bases" / "other"
        if not other.exists():
            make_tiny_base(other, seed=5)
        base = await suite.add_base(directories("qwen2"))
        yield Place(line, base, await suite.add_base(other), adapter, start)


async def refused(place: Place, suite: Suite, name: str, reason: Reason, **fields: Any) -> int:
    """Bytes that came over the line for requests that are refused."""
    before = place.line.sent
    for _ in range(REQUESTS // 2):
        error = await suite.refusal(name, **fields)  # once unary, once streamed
        assert error.reason is reason
    return place.line.sent - before


def config_bytes(directory: Path) -> int:
    return (directory / CONFIG).stat().st_size


def header_bytes(directory: Path) -> int:
    with (directory / WEIGHTS).open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


def changed(place: Place, to: Path, config: dict[str, Any] | None = None, **tensors: torch.Tensor | None) -> Path:
    to.mkdir()
    for file in place.adapter.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    if config:
        edit_config(to, **config)
    if tensors:
        edit_weights(to, **tensors)
    return to


async def test_nothing_is_fetched_for_what_the_manifest_or_the_base_refuses(place: Place, tmp_path: Path) -> None:
    suite = await place.start()
    name = await suite.publish(place.adapter, place.base)
    assert await refused(place, suite, name, Reason.ADAPTER_BASE_MISMATCH, base_model=place.other[0]) == 0

    declared = await suite.publish(place.adapter, place.base, provenance=Provenance.DECLARED)
    strict = await place.start(inference_admit=Provenance.WITNESSED)
    assert await refused(place, strict, declared, Reason.PROVENANCE_NOT_ADMITTED) == 0

    (tmp_path / "other.pem").write_bytes(STRANGERS_KEY.public.to_pem())
    wary = await place.start(trusted_keys=(tmp_path / "other.pem",))
    assert await refused(place, wary, declared, Reason.SIGNATURE_UNTRUSTED) == 0


CONFIGURATIONS: Final[dict[str, tuple[dict[str, Any], dict[str, Any], Reason]]] = {
    "malformed": ({"r": "many"}, {}, Reason.ADAPTER_CONFIG_INVALID),
    "not served": ({"bias": "all"}, {}, Reason.ADAPTER_NOT_SUPPORTED),
    "not as the manifest says": ({"lora_alpha": 5}, {"peft": {"lora_alpha": 6}}, Reason.ADAPTER_CONFIG_MISMATCH),
}


@pytest.mark.parametrize("fault", CONFIGURATIONS)
async def test_only_the_configuration_is_fetched_for_what_it_refuses(fault: str, place: Place, tmp_path: Path) -> None:
    changes, manifest, reason = CONFIGURATIONS[fault]
    suite = await place.start()
    directory = changed(place, tmp_path / "a", changes)
    name = await suite.publish(directory, place.base, **manifest)
    assert 0 < await refused(place, suite, name, reason) < REQUESTS * config_bytes(directory) + OVERHEAD


HEADERS: Final[dict[str, tuple[dict[str, torch.Tensor | None], dict[str, Any], Reason]]] = {
    "a tensor missing": ({"1__self_attn__q_proj__lora_B__weight": None}, {}, Reason.ADAPTER_TENSOR_MISSING),
    "a tensor too many": ({"base_model__model__x": torch.ones(1)}, {}, Reason.ADAPTER_TENSOR_UNKNOWN),
    "another rank": ({}, {"r": 8}, Reason.ADAPTER_SHAPE_MISMATCH),
    "another target": ({}, {"target_modules": ["o_proj"]}, Reason.ADAPTER_TENSOR_MISSING),
}


@pytest.mark.parametrize("fault", HEADERS)
async def test_only_the_header_is_fetched_for_what_it_refuses(fault: str, place: Place, tmp_path: Path) -> None:
    tensors, config, reason = HEADERS[fault]
    suite = await place.start()
    directory = changed(place, tmp_path / "a", config, **tensors)
    name = await suite.publish(directory, place.base)
    most = REQUESTS * (config_bytes(directory) + header_bytes(directory)) + OVERHEAD
    assert 0 < await refused(place, suite, name, reason) < most < (directory / WEIGHTS).stat().st_size / 16


async def test_only_the_header_is_fetched_of_weights_that_the_store_has_damaged(
    place: Place, tmp_path: Path, directories: Callable[..., Path]
) -> None:
    suite = await place.start()
    directory = make_adapter(directories("qwen2"), tmp_path / "a", r=RANK, seed=7)
    name = await suite.publish(directory, place.base)
    data = (directory / WEIGHTS).read_bytes()
    digest = file_of(directory / WEIGHTS).sha256
    most = REQUESTS * (config_bytes(directory) + header_bytes(directory)) + OVERHEAD
    for damaged in (data[:9] + b"x" + data[10:], data[: len(data) // 2], data + b"\0", b""):
        place.line.overwrite(digest, damaged)
        assert await refused(place, suite, name, Reason.ARTIFACT_CORRUPT) < most
    place.line.overwrite(digest, data)
    before = place.line.sent
    assert (await suite.ask(name)).text
    assert place.line.sent - before > len(data)  # so this is what counting the weights looks like
