"""What ``model`` can be."""

import pytest

from gateway.names import parse_model, public_version
from services.common.errors import DomainError, Reason

DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("base/qwen2.5-0.5b", "baseModels/qwen2.5-0.5b"),
        ("wukong:production", "projects/default/adapters/wukong/aliases/production"),
        (f"wukong@{DIGEST}", f"projects/default/adapters/wukong/versions/{DIGEST}"),
        ("wukong", "wukong"),
    ],
)
def test_a_model_is_a_name_or_an_id_to_look_up(model: str, name: str) -> None:
    assert str(parse_model(model)) == name


@pytest.mark.parametrize(
    "model",
    ["", "A", "../up", "base/", "base/a/b", "wukong:", ":latest", "wukong@", "wukong@abc", f"wukong@{DIGEST.upper()}",
     "wukong:a:b", "wukong:a@b", "x" * 64, "a b", "a\n"],
)  # fmt: skip
def test_what_cannot_be_a_model_is_refused_as_the_parameter_model(model: str) -> None:
    with pytest.raises(DomainError) as caught:
        parse_model(model)
    assert caught.value.reason is Reason.INVALID_ARGUMENT
    assert caught.value.violations[0].field == "model"


def test_a_version_is_written_as_it_can_be_sent_back() -> None:
    name = f"projects/default/adapters/wukong/versions/{DIGEST}"
    assert str(parse_model(public_version(name))) == name
    assert public_version("") == ""
