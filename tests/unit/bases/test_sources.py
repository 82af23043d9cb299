"""Sources of base models: which are accepted, and what a refusal says."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.common.bases.sources import fetch_base, pin_source, with_first_source
from services.common.errors import DomainError, Reason
from tests.support.hub import Hub, running_hub

TINY = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": bytes(range(256)) * 4096}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "models" / "tiny model ä"
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    return directory


def fetch(source: str, cache: Path, *roots: Path) -> Path:
    return fetch_base([source], cache_dir=cache, roots=roots)


def test_path_is_pinned_to_an_absolute_uri_that_leads_back(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    uri = pin_source(f"./{model.name}")
    assert uri == model.as_uri()
    assert uri.endswith("/tiny%20model%20%C3%A4")
    assert fetch(uri, tmp_path, tmp_path / "models") == model
    assert pin_source(uri) == uri


def test_directory_outside_the_roots_is_refused_whether_it_exists_or_not(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for uri in (model.as_uri(), (tmp_path / "nothing").as_uri()):
        with pytest.raises(DomainError, match="TENON_BASE_ROOTS") as caught:
            fetch(uri, tmp_path, other)
        assert caught.value.reason is Reason.BASE_SOURCE_INVALID
    with pytest.raises(DomainError, match="none so far"):
        fetch(model.as_uri(), tmp_path)


def test_link_out_of_the_roots_is_followed_before_the_check(model: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(model)
    with pytest.raises(DomainError) as caught:
        fetch((root / "link").as_uri(), tmp_path, root)
    assert caught.value.reason is Reason.BASE_SOURCE_INVALID
    assert fetch((root / "link").as_uri(), tmp_path, root, model.parent) == model


def test_dots_and_escapes_are_decoded_before_the_check(model: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for path in ("../models", "%2e%2e/models", "..%2Fmodels"):
        with pytest.raises(DomainError) as caught:
            fetch(f"{root.as_uri()}/{path}", tmp_path, root)
        assert caught.value.reason is Reason.BASE_SOURCE_INVALID


@pytest.mark.parametrize(
    "uri",
    [
        "file://host/models",
        "file:relative",
        "file:///models?x",
        "file:///models#x",
        "file:///mod%00els",
        "file:///%ff",
        "hf://",
        "hf://a/b/c",
        "hf://../x",
        "hf://a/b@",
        "hf://a/b@../c",
        "hf://a/b@x y",
        "s3://bucket/base",
        "http://example.com/base",
        "ftp://x",
    ],
)
def test_malformed_and_unknown_sources_are_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(DomainError) as caught:
        fetch(uri, tmp_path, Path("/"))
    assert caught.value.reason is Reason.BASE_SOURCE_INVALID
    assert uri in caught.value.message


def test_missing_directory_is_unavailable(tmp_path: Path) -> None:
    for call in (
        lambda: pin_source(str(tmp_path / "gone")),
        lambda: fetch((tmp_path / "gone").as_uri(), tmp_path, tmp_path),
    ):
        with pytest.raises(DomainError, match="does not exist") as caught:
            call()
        assert caught.value.reason is Reason.BASE_SOURCE_UNAVAILABLE


def test_branch_is_pinned_to_its_commit_and_stays_there(hub: Hub, tmp_path: Path) -> None:
    first = hub.push("tenon-tests/tiny", TINY)
    pinned = pin_source("hf://tenon-tests/tiny@main")
    assert pinned == f"hf://tenon-tests/tiny@{first}" == pin_source("hf://tenon-tests/tiny")
    hub.push("tenon-tests/tiny", TINY | {"config.json": b'{"a": 1}'})
    assert (fetch(pinned, tmp_path) / "config.json").read_bytes() == b"{}"


def test_only_what_a_base_consists_of_is_downloaded(hub: Hub, tmp_path: Path) -> None:
    more = {"pytorch_model.bin": b"x", "sub/code.py": b"x", "README.md": b"x", "onnx/model.safetensors": b"x"}
    hub.push("tenon-tests/tiny", TINY | more)
    directory = fetch(pin_source("hf://tenon-tests/tiny"), tmp_path)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == TINY
    assert not any(name in line for line in hub.served for name in more)


def test_sharded_checkpoint_is_downloaded_by_its_index(hub: Hub, tmp_path: Path) -> None:
    index = {"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}
    files = {
        "config.json": b"{}",
        "model.safetensors.index.json": json.dumps(index).encode(),
        "part-1.safetensors": b"1",
        "part-2.safetensors": b"2",
    }
    hub.push("tenon-tests/sharded", files | {"consolidated.safetensors": b"3"})
    assert {path.name for path in fetch("hf://tenon-tests/sharded@main", tmp_path).iterdir()} == set(files)


@pytest.mark.parametrize("name", ["../x.safetensors", "*.bin", "a/b.safetensors", "x.bin", 3])
def test_index_that_names_other_files_is_refused(name: object, hub: Hub, tmp_path: Path) -> None:
    index = json.dumps({"weight_map": {"a": name}}).encode()
    hub.push("tenon-tests/odd", {"config.json": b"{}", "model.safetensors.index.json": index, "x.bin": b""})
    with pytest.raises(DomainError) as caught:
        fetch("hf://tenon-tests/odd@main", tmp_path)
    assert caught.value.reason is Reason.BASE_FILES_INCONSISTENT


def test_interrupted_download_is_taken_up_again(hub: Hub, tmp_path: Path) -> None:
    hub.push("tenon-tests/tiny", TINY)
    hub.break_after["model.safetensors"] = 5000
    directory = fetch("hf://tenon-tests/tiny@main", tmp_path)
    assert (directory / "model.safetensors").read_bytes() == TINY["model.safetensors"]
    assert "model.safetensors" not in hub.break_after
    assert hub.bytes_sent["model.safetensors"] == len(TINY["model.safetensors"]) + 5000


def test_cached_commit_needs_no_hub(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.push("tenon-tests/tiny", TINY)
    pinned = pin_source("hf://tenon-tests/tiny")
    first = fetch(pinned, tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert fetch(pinned, tmp_path) == first
    with pytest.raises(DomainError, match="cannot be reached") as caught:
        pin_source("hf://tenon-tests/tiny")
    assert caught.value.reason is Reason.BASE_SOURCE_UNAVAILABLE


def test_pickle_only_repository_is_unsafe_and_an_empty_one_is_no_model(hub: Hub, tmp_path: Path) -> None:
    hub.push("tenon-tests/pickle", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    hub.push("tenon-tests/readme", {"README.md": b"x"})
    with pytest.raises(DomainError, match=r"pytorch_model\.bin") as caught:
        fetch("hf://tenon-tests/pickle@main", tmp_path)
    assert caught.value.reason is Reason.BASE_UNSAFE_FILES
    with pytest.raises(DomainError, match=r"no config\.json") as caught:
        fetch("hf://tenon-tests/readme@main", tmp_path)
    assert caught.value.reason is Reason.BASE_NOT_A_MODEL


def test_unknown_gated_and_unknown_revision_say_so(hub: Hub, tmp_path: Path) -> None:
    hub.push("tenon-tests/tiny", TINY)
    hub.push("tenon-tests/gated", TINY)
    hub.gated.add("tenon-tests/gated")
    wanted = {
        "nobody/nothing": "no such repository",
        "tenon-tests/gated": "granted",
        "tenon-tests/tiny@v9": "no such branch",
    }
    for repository, words in wanted.items():
        with pytest.raises(DomainError, match=words) as caught:
            pin_source(f"hf://{repository}")
        assert caught.value.reason is Reason.BASE_SOURCE_UNAVAILABLE


def test_sources_are_tried_in_order_and_each_failure_is_told(hub: Hub, model: Path, tmp_path: Path) -> None:
    gone, unknown = (tmp_path / "models" / "gone").as_uri(), "hf://nobody/nothing@main"
    roots = [tmp_path / "models"]
    assert fetch_base([gone, unknown, model.as_uri()], cache_dir=tmp_path, roots=roots) == model
    with pytest.raises(DomainError) as caught:
        fetch_base([gone, unknown, "s3://bucket/x"], cache_dir=tmp_path, roots=roots)
    assert caught.value.reason is Reason.BASE_SOURCE_UNAVAILABLE
    for words in ("does not exist", "no such repository", "s3://bucket/x"):
        assert words in caught.value.message
    with pytest.raises(DomainError, match="no sources"):
        fetch_base([], cache_dir=tmp_path, roots=roots)


def test_source_that_is_refused_leads_to_the_next_and_a_mismatch_is_told_first(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "models" / "other"
    other.mkdir()
    seen: list[Path] = []

    def use(directory: Path) -> str:
        seen.append(directory)
        if directory == model:
            raise DomainError(Reason.BASE_FINGERPRINT_MISMATCH, "Other bytes.", {"actual_id": "a"})
        return directory.name

    roots = [tmp_path / "models"]
    assert with_first_source([model.as_uri(), other.as_uri()], use, cache_dir=tmp_path, roots=roots) == "other"
    assert seen == [model, other]
    gone = (tmp_path / "models" / "gone").as_uri()
    with pytest.raises(DomainError, match=r"does not exist.*Other bytes") as caught:
        with_first_source([gone, model.as_uri()], use, cache_dir=tmp_path, roots=roots)
    assert caught.value.reason is Reason.BASE_FINGERPRINT_MISMATCH
    assert caught.value.metadata == {"actual_id": "a"}
