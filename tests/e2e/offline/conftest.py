"""Tiny bases that are alike and not, an adapter that PEFT made on one of them, and users who have never run Tenon."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from services.common.identity import fingerprint_base
from tests.contract.inference.samples import PROBE, make_adapter
from tests.e2e.offline.machine import Machine
from tests.support.tiny_bases import make_tiny_base


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bases: `tiny-qwen`, and what is not it."""
    root = tmp_path_factory.mktemp("bases")
    make_tiny_base(root / "tiny-qwen", "qwen2", seed=1)
    make_tiny_base(root / "other-weights", "qwen2", seed=2)
    make_tiny_base(root / "other-tokenizer", "qwen2", seed=1, merges=(("a", "b"),))
    make_tiny_base(root / "tiny-gpt", "gpt2", seed=1)
    other_context = shutil.copytree(root / "tiny-qwen", root / "other-context")
    config = json.loads((other_context / "config.json").read_text())
    (other_context / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 256}))
    _reshard(root / "tiny-qwen", root / "resharded")
    return root


def _reshard(base: Path, directory: Path) -> None:
    shutil.copytree(base, directory)
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    weight_map = {}
    for number, names in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2])):
        shard = f"model-{number + 1:05d}-of-00002.safetensors"
        save_file({name: tensors[name] for name in names}, directory / shard)
        weight_map.update(dict.fromkeys(names, shard))
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


@pytest.fixture(scope="session")
def base(bases: Path) -> Path:
    return bases / "tiny-qwen"


@pytest.fixture(scope="session")
def base_ids(bases: Path) -> dict[str, str]:
    """Directory → fingerprint id."""
    return {directory.name: fingerprint_base(directory).id for directory in bases.iterdir()}


@pytest.fixture(scope="session")
def peft_adapter(bases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("adapters") / "adapter"
    make_adapter(bases / "tiny-qwen", place, target_modules=["q_proj", "v_proj"])
    (place / PROBE).unlink()
    return place


@pytest.fixture
def adapter(peft_adapter: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return shutil.copytree(peft_adapter, tmp_path / "mein Adapter 悟空")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "home")


@pytest.fixture
def stranger(tmp_path: Path) -> Machine:
    """Another user, who shares no key."""
    return Machine(tmp_path / "another home")


@pytest.fixture(scope="session")
def sealer(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("sealer"))


@pytest.fixture(scope="session")
def sealed_once(sealer: Machine, peft_adapter: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = shutil.copytree(peft_adapter, tmp_path_factory.mktemp("sealed") / "adapter")
    sealer.seal(place, base)
    return place


@pytest.fixture
def sealed(sealed_once: Path, tmp_path: Path) -> Path:
    """An adapter that the user of `sealer` sealed, to be changed."""
    return shutil.copytree(sealed_once, tmp_path / "sealed adapter")
