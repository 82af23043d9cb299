import json
from pathlib import Path

import pytest

from services.common.errors import DomainError, Reason
from services.trainer.output import list_files


def adapter(directory: Path) -> Path:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (directory / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (directory / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    return directory


def test_an_adapter_is_two_files(tmp_path: Path) -> None:
    (adapter(tmp_path) / "training_state.bin").touch()
    files = list_files(tmp_path)
    assert [file.path for file in files] == ["adapter_config.json", "adapter_model.safetensors"]
    assert [file.header_sha256 is None for file in files] == [True, False]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("adapter_config.json", None),
        ("adapter_config.json", b"{"),
        ("adapter_config.json", b"[]"),
        ("adapter_config.json", b'{"peft_type": 1' + b" " * 2**20 + b"}"),
        ("adapter_model.safetensors", None),
        ("adapter_model.safetensors", b"\x80\x04pickle, as torch.save writes it"),
        ("adapter_model.safetensors", b""),
    ],
)
def test_anything_else_is_not_published(tmp_path: Path, file: str, content: bytes | None) -> None:
    adapter(tmp_path)
    if content is None:
        (tmp_path / file).rename(tmp_path / "elsewhere")
        (tmp_path / file).symlink_to(tmp_path / "elsewhere")
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(DomainError) as raised:
        list_files(tmp_path)
    assert raised.value.reason in {Reason.ADAPTER_INVALID, Reason.SAFETENSORS_INVALID}
