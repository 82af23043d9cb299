import os
from pathlib import Path

import pytest

from services.common.admission.directory import (
    CONFIG_FILE,
    MANIFEST_FILE,
    WEIGHTS_FILE,
    open_file,
    read_file,
    refuse_unsafe,
    require_adapter,
)
from services.common.admission.listed import list_files
from services.common.errors import DomainError, Reason
from tests.unit.admission.build import Adapter


def reason(call: object, *arguments: object) -> Reason:
    assert callable(call)
    with pytest.raises(DomainError) as caught:
        call(*arguments)
    return caught.value.reason


def test_the_two_files_are_described(directory: Path) -> None:
    Adapter(files={"README.md": b"no part of it"}).write(directory)

    config, weights = list_files(directory)

    assert (config.path, config.size, config.header_sha256) == (
        CONFIG_FILE,
        (directory / CONFIG_FILE).stat().st_size,
        None,
    )
    assert (weights.path, weights.size) == (WEIGHTS_FILE, len(Adapter().weights))
    assert weights.header_sha256 not in {None, weights.sha256}


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(directory: Path, name: str) -> None:
    (Adapter().write(directory) / name).unlink()

    with pytest.raises(DomainError) as caught:
        list_files(directory)

    assert caught.value.reason is Reason.ADAPTER_FILES_MISSING
    assert name in caught.value.message


@pytest.mark.parametrize(
    "name", ["adapter_model.bin", "pytorch_model.pt", "x.pth", "x.ckpt", "x.pkl", "x.pickle", "ADAPTER_MODEL.BIN"]
)
def test_pickles_are_refused(directory: Path, name: str) -> None:
    Adapter(files={name: b"\x80\x04."}).write(directory)

    assert reason(refuse_unsafe, directory) is Reason.ADAPTER_UNSAFE_FILES


@pytest.mark.parametrize("name", ["training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "scaler.pt"])
def test_what_a_trainer_leaves_behind_is_passed_over(directory: Path, name: str) -> None:
    refuse_unsafe(Adapter(files={name: b"\x80\x04."}).write(directory))


def test_a_directory_without_any_sign_of_an_adapter_is_none(directory: Path, tmp_path: Path) -> None:
    directory.mkdir()
    (directory / "notes.txt").touch()

    assert reason(require_adapter, directory) is Reason.ADAPTER_FILES_MISSING
    assert reason(require_adapter, tmp_path / "nowhere") is Reason.ADAPTER_FILES_MISSING
    assert reason(require_adapter, directory / "notes.txt") is Reason.ADAPTER_FILES_MISSING


def test_a_fifo_is_not_waited_for(directory: Path) -> None:
    (Adapter().write(directory) / CONFIG_FILE).unlink()
    os.mkfifo(directory / CONFIG_FILE)

    assert reason(open_file, directory, CONFIG_FILE) is Reason.ADAPTER_UNSAFE_FILES


def test_a_directory_in_place_of_a_file_is_refused(directory: Path) -> None:
    (Adapter().write(directory) / CONFIG_FILE).unlink()
    (directory / CONFIG_FILE).mkdir()

    assert reason(list_files, directory) is Reason.ADAPTER_UNSAFE_FILES


def test_a_link_out_of_the_directory_is_refused(directory: Path, tmp_path: Path) -> None:
    (Adapter().write(directory) / CONFIG_FILE).rename(tmp_path / "elsewhere.json")
    (directory / CONFIG_FILE).symlink_to(tmp_path / "elsewhere.json")

    assert reason(open_file, directory, CONFIG_FILE) is Reason.ADAPTER_UNSAFE_FILES


def test_a_link_out_of_what_only_looks_like_the_hubs_cache_is_refused(tmp_path: Path) -> None:
    directory = Adapter().write(tmp_path / "snapshots" / "0123abcd")
    (directory / CONFIG_FILE).rename(tmp_path / "secret")
    (directory / CONFIG_FILE).symlink_to("../../secret")

    assert reason(open_file, directory, CONFIG_FILE) is Reason.ADAPTER_UNSAFE_FILES


def test_a_link_to_itself_is_refused(directory: Path) -> None:
    (Adapter().write(directory) / CONFIG_FILE).unlink()
    (directory / CONFIG_FILE).symlink_to(CONFIG_FILE)

    assert reason(open_file, directory, CONFIG_FILE) is Reason.ADAPTER_FILES_MISSING


def test_links_within_the_directory_and_within_the_hubs_cache_are_followed(tmp_path: Path) -> None:
    repository = tmp_path / "models--someone--adapter"
    directory = Adapter().write(repository / "snapshots" / "0123abcd")
    (repository / "blobs").mkdir()
    (directory / CONFIG_FILE).rename(repository / "blobs" / "0")
    (directory / CONFIG_FILE).symlink_to("../../blobs/0")
    (directory / WEIGHTS_FILE).rename(directory / "weights")
    (directory / WEIGHTS_FILE).symlink_to("weights")

    assert len(list_files(directory)) == 2


def test_a_whole_adapter_may_be_reached_through_a_link(directory: Path, tmp_path: Path) -> None:
    Adapter().write(directory)
    (tmp_path / "link").symlink_to(directory)

    assert list_files(tmp_path / "link") == list_files(directory)


def test_a_file_above_its_limit_is_not_read(directory: Path) -> None:
    Adapter().write(directory)
    os.truncate(directory / CONFIG_FILE, 2 * 1024 * 1024)

    assert reason(read_file, directory, CONFIG_FILE) is Reason.LIMIT_EXCEEDED


def test_an_optional_file_may_be_absent(directory: Path) -> None:
    assert read_file(Adapter().write(directory), MANIFEST_FILE) is None


def test_a_file_that_shrinks_while_it_is_read_is_corrupt(directory: Path) -> None:
    Adapter().write(directory)
    with open_file(directory, WEIGHTS_FILE) as file:
        os.truncate(directory / WEIGHTS_FILE, 100)

        assert reason(file.sha256) is Reason.ARTIFACT_CORRUPT
        assert reason(file.check_unchanged) is Reason.ARTIFACT_CORRUPT


def test_too_many_files_are_not_listed(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.common.admission.directory.MAX_NAMES", 4)
    Adapter(files={str(number): b"" for number in range(3)}).write(directory)

    assert reason(require_adapter, directory) is Reason.LIMIT_EXCEEDED
