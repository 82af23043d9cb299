"""Both artifact stores, for every test that asks for `backend`."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.contract.artifacts.backends import BUCKET, Backend, FileSystemBackend, S3Backend
from tests.support.s3.process import S3Process


@pytest.fixture(scope="session")
def s3_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Process]:
    """A running S3 server with an empty bucket."""
    process = S3Process(tmp_path_factory.mktemp("s3"))
    process.start()
    try:
        process.client().make_bucket(BUCKET)
        yield process
    finally:
        process.stop()


@pytest.fixture
def s3(s3_process: S3Process) -> S3Backend:
    return S3Backend(s3_process, f"tests/{uuid4().hex}")


@pytest.fixture
def directory(tmp_path: Path) -> FileSystemBackend:
    return FileSystemBackend(tmp_path / "artifact store Größe")


@pytest.fixture(params=["directory", "s3"])
def backend(request: pytest.FixtureRequest) -> Backend:
    chosen: Backend = request.getfixturevalue(request.param)
    return chosen
