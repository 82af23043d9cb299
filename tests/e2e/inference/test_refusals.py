"""What is refused, when, and in which words. Nothing that is refused disturbs what answers."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch

from services.common.errors import DomainError, Reason
from tenon.inference.v1 import inference_pb2 as pb
from tests.contract.inference.samples import WEIGHTS, edit_config, edit_weights, file_of, make_adapter
from tests.e2e.inference.conftest import Base
from tests.e2e.inference.service import StartInference, Suite, conversation
from tests.support.tiny_bases import make_tiny_base

LAYER = "base_model__model__model__layers"
SHAPES = {"A": (4, 32), "B": (32, 4)}


async def test_wrong_pair_is_refused_before_anything_is_fetched(
    start_inference: StartInference, suite: Suite, qwen: Base, gpt2: Base, wukong: str
) -> None:
    fresh = await start_inference()
    error = await fresh.refusal(wukong, base_model=gpt2[0])
    assert error.code is grpc.StatusCode.FAILED_PRECONDITION
    assert error.reason is Reason.ADAPTER_BASE_MISMATCH
    assert error.metadata == {
        "verdict": "ARCHITECTURE_DIFFERS",
        "expected_base": qwen[0],
        "actual_base": gpt2[0],
        "expected_id": qwen[1].id,
        "actual_id": gpt2[1].id,
    }
    for words in (f"trained on {qwen[0]}", gpt2[0], "Qwen2ForCausalLM", "GPT2LMHeadModel", f"adapter on {qwen[0]}"):
        assert words in error.message
    with pytest.raises(DomainError, match="trained on"):
        await fresh.inference.LoadModel(pb.LoadModelRequest(model=wukong, base_model=gpt2[0]))
    assert not fresh.store.touched
    assert not await fresh.loaded()
    assert (await fresh.ask(wukong, base_model=qwen[0])).text == (await suite.ask(wukong)).text


@pytest.mark.parametrize(
    ("options", "verdict"),
    [({"hidden": 48}, "STRUCTURE_DIFFERS"), ({"layers": 3}, "STRUCTURE_DIFFERS"), ({"seed": 5}, "WEIGHTS_DIFFER")],
)
async def test_every_kind_of_wrong_base_has_its_verdict(
    options: dict[str, Any], verdict: str, suite: Suite, root: Path, wukong: str
) -> None:
    directory = make_tiny_base(root / "bases" / f"other {options}", **options)
    other, _ = await suite.add_base(directory)
    error = await suite.refusal(wukong, base_model=other)
    assert (error.reason, error.metadata["verdict"]) == (Reason.ADAPTER_BASE_MISMATCH, verdict)


async def test_unknown_names_are_not_found_and_never_the_bases_answer(suite: Suite, qwen: Base, wukong: str) -> None:
    wanted = {
        "baseModels/nobody": Reason.BASE_MODEL_NOT_FOUND,
        "projects/default/adapters/nobody": Reason.ADAPTER_NOT_FOUND,
        "projects/elsewhere/adapters/" + wukong.rpartition("/")[2]: Reason.ADAPTER_NOT_FOUND,
        f"{wukong}/aliases/nothing": Reason.ALIAS_NOT_FOUND,
        f"{wukong}/versions/{'0' * 64}": Reason.ADAPTER_VERSION_NOT_FOUND,
    }
    for model, reason in wanted.items():
        error = await suite.refusal(model)
        assert (error.reason, error.code) == (reason, grpc.StatusCode.NOT_FOUND)
    assert (await suite.refusal(wukong, base_model="baseModels/nobody")).reason is Reason.BASE_MODEL_NOT_FOUND


async def test_another_base_than_the_one_named_is_an_invalid_argument(suite: Suite, qwen: Base, gpt2: Base) -> None:
    error = await suite.refusal(qwen[0], base_model=gpt2[0])
    assert error.reason is Reason.INVALID_ARGUMENT
    assert error.violations[0].field == "base_model"
    assert (await suite.ask(qwen[0], base_model=qwen[0])).text


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"model": ""}, "model"),
        ({"model": "gpt-4"}, "model"),
        ({"model": "baseModels/../etc"}, "model"),
        ({"base_model": "qwen"}, "base_model"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"sampling": pb.SamplingParameters(temperature=float("nan"))}, "sampling.temperature"),
        ({"sampling": pb.SamplingParameters(temperature=-0.1)}, "sampling.temperature"),
        ({"sampling": pb.SamplingParameters(temperature=2.5)}, "sampling.temperature"),
        ({"sampling": pb.SamplingParameters(top_p=0)}, "sampling.top_p"),
        ({"sampling": pb.SamplingParameters(top_p=float("nan"))}, "sampling.top_p"),
        ({"sampling": pb.SamplingParameters(top_p=float("inf"))}, "sampling.top_p"),
        ({"sampling": pb.SamplingParameters(top_k=-1)}, "sampling.top_k"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"conversation": pb.Conversation()}, "input"),
        ({"conversation": pb.Conversation(messages=[pb.ChatMessage()])}, "conversation.messages[0].role"),
        (
            {"conversation": pb.Conversation(messages=[pb.ChatMessage(role="user", parts=[pb.ContentPart()])])},
            "conversation.messages[0].parts[0]",
        ),
    ],
)
async def test_bad_values_are_invalid_arguments_that_name_the_field(
    fields: dict[str, object], field: str, suite: Suite, qwen: Base
) -> None:
    error = await suite.refusal(**{"model": qwen[0], **fields})  # type: ignore[arg-type]  # what a caller might send
    assert error.reason is Reason.INVALID_ARGUMENT
    assert [violation.field for violation in error.violations] == [field]


async def test_prompt_that_does_not_fit_the_context(suite: Suite, qwen: Base) -> None:
    for text, tokens in (("x" * 512, 0), ("x" * 500, 13), ("x" * 100_000, 1)):
        error = await suite.refusal(qwen[0], text, max_tokens=tokens)
        assert error.reason is Reason.CONTEXT_LENGTH_EXCEEDED
        assert error.metadata == {"prompt_tokens": str(len(text)), "context": "512"}


async def test_base_without_template_takes_no_conversation_but_its_adapter_may(
    suite: Suite, root: Path, tmp_path: Path
) -> None:
    directory = make_tiny_base(root / "bases" / "plain", seed=3, chat_template=None)
    base = await suite.add_base(directory)
    assert (await suite.refusal(base[0], conversation=conversation("hi"))).reason is Reason.CHAT_TEMPLATE_MISSING
    template = "{{ messages[0].content }}:"
    chat = await suite.publish(make_adapter(directory, tmp_path), base, chat_template=template)
    assert (await suite.ask(chat, conversation=conversation("hi"))).usage.prompt_tokens == 3


async def test_template_that_fails_or_reaches_out_is_refused(suite: Suite, qwen: Base, adapter_directory: Path) -> None:
    for template in (
        "{{ raise_exception('users first') }}",
        "{% if %}",
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{{ messages.clear() }}",
    ):
        chat = await suite.publish(adapter_directory, qwen, chat_template=template)
        error = await suite.refusal(chat, conversation=conversation("hi"))
        assert error.reason is Reason.INVALID_ARGUMENT


async def test_base_whose_files_changed_is_refused_and_nothing_is_loaded(suite: Suite, root: Path) -> None:
    directory = make_tiny_base(root / "bases" / "changing", seed=11)
    name, fingerprint = await suite.add_base(directory)
    weights = directory / "model.safetensors"
    original = weights.read_bytes()
    weights.write_bytes(original[:-4] + b"\0\0\0\1")
    error = await suite.refusal(name)
    assert error.reason is Reason.BASE_FINGERPRINT_MISMATCH
    assert error.metadata["expected_id"] == fingerprint.id != error.metadata["actual_id"]
    assert error.metadata["verdict"] == "WEIGHTS_DIFFER"
    assert name not in await suite.loaded()
    weights.write_bytes(original)
    assert (await suite.ask(name)).text


async def test_base_that_vanished_is_unavailable_until_it_is_back(suite: Suite, root: Path) -> None:
    directory = make_tiny_base(root / "bases" / "vanishing", seed=12)
    name, _ = await suite.add_base(directory)
    directory.rename(directory.with_name("away"))
    error = await suite.refusal(name)
    assert error.reason is Reason.BASE_SOURCE_UNAVAILABLE
    assert str(directory) in error.message
    directory.with_name("away").rename(directory)
    assert (await suite.ask(name)).text


async def test_base_outside_the_roots_is_refused(suite: Suite, tmp_path: Path) -> None:
    name, _ = await suite.add_base(make_tiny_base(tmp_path / "elsewhere", seed=13))
    error = await suite.refusal(name)
    assert error.reason is Reason.BASE_SOURCE_INVALID
    assert "TENON_BASE_ROOTS" in error.message


WRONG: dict[str, tuple[dict[str, torch.Tensor | None], Reason, str]] = {
    "no effect": ({"lora_B__weight": torch.zeros(())}, Reason.ADAPTER_NO_EFFECT, "exactly like its base"),
    "half a pair": (
        {"1__self_attn__q_proj__lora_B__weight": None},
        Reason.ADAPTER_TENSOR_MISSING,
        "lacks model.layers.1.self_attn.q_proj.lora_B",
    ),
    "a layer missing": (
        {"1__self_attn__q_proj__lora_A__weight": None, "1__self_attn__q_proj__lora_B__weight": None},
        Reason.ADAPTER_TENSOR_MISSING,
        "lacks model.layers.1.self_attn.q_proj",
    ),
    "a layer too many": (
        {f"{LAYER}__9__self_attn__q_proj__lora_{side}__weight": torch.ones(shape) for side, shape in SHAPES.items()},
        Reason.ADAPTER_MODULE_NOT_FOUND,
        "tensors for model.layers.9",
    ),
    "a module that is not targeted": (
        {f"{LAYER}__0__self_attn__o_proj__lora_{side}__weight": torch.ones(shape) for side, shape in SHAPES.items()},
        Reason.ADAPTER_TENSOR_UNEXPECTED,
        "model.layers.0.self_attn.o_proj",
    ),
    "a tensor of no known name": ({f"{LAYER}__0__x": torch.ones(1)}, Reason.ADAPTER_TENSOR_UNKNOWN, "layers.0.x"),
    "another shape": (
        {"0__self_attn__q_proj__lora_A__weight": torch.ones(4, 31)},
        Reason.ADAPTER_SHAPE_MISMATCH,
        "[4, 31]",
    ),
    "another number format": (
        {"0__self_attn__q_proj__lora_A__weight": torch.ones(4, 32, dtype=torch.int64)},
        Reason.ADAPTER_DTYPE_NOT_SUPPORTED,
        "I64",
    ),
    "not a number": (
        {"0__self_attn__q_proj__lora_A__weight": torch.full((4, 32), torch.nan)},
        Reason.ADAPTER_NOT_FINITE,
        "NaN",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
async def test_adapter_that_is_not_whole_is_refused_and_its_base_goes_on(
    fault: str, suite: Suite, qwen: Base, adapter_directory: Path, tmp_path: Path
) -> None:
    changes, reason, words = WRONG[fault]
    broken = copy(adapter_directory, tmp_path)
    edit_weights(broken, **changes)
    before = await suite.ask(qwen[0])
    error = await suite.refusal(await suite.publish(broken, qwen))
    assert (error.reason, error.code) == (reason, grpc.StatusCode.FAILED_PRECONDITION)
    assert words in error.message
    assert (await suite.ask(qwen[0])).text == before.text


async def test_what_the_header_tells_is_refused_before_the_weights_are_fetched(
    suite: Suite, qwen: Base, adapter_directory: Path, tmp_path: Path
) -> None:
    broken = copy(adapter_directory, tmp_path)
    edit_weights(broken, **WRONG["a tensor of no known name"][0])
    await suite.refusal(await suite.publish(broken, qwen))
    assert suite.store.touched[file_of(broken / WEIGHTS).sha256]
    assert not suite.store.touched[f"fetch {file_of(broken / WEIGHTS).sha256}"]


async def test_configuration_that_does_not_fit_is_refused(
    suite: Suite, qwen: Base, adapter_directory: Path, tmp_path: Path
) -> None:
    wrong: list[tuple[dict[str, Any], Reason]] = [
        ({"r": 8}, Reason.ADAPTER_SHAPE_MISMATCH),
        ({"use_dora": True}, Reason.ADAPTER_TENSOR_MISSING),
        ({"target_modules": ["q_proj", "o_proj"]}, Reason.ADAPTER_TENSOR_MISSING),
        ({"target_modules": ["no_proj"]}, Reason.ADAPTER_MODULE_NOT_FOUND),
        ({"bias": "all"}, Reason.ADAPTER_NOT_SUPPORTED),
        ({"peft_type": "LOHA"}, Reason.ADAPTER_NOT_SUPPORTED),
        ({"r": "4"}, Reason.ADAPTER_CONFIG_INVALID),
    ]
    for number, (changes, reason) in enumerate(wrong):
        broken = copy(adapter_directory, tmp_path / str(number))
        edit_config(broken, **changes)
        assert (await suite.refusal(await suite.publish(broken, qwen))).reason is reason


async def test_configuration_that_is_not_what_the_manifest_says_is_refused(
    suite: Suite, qwen: Base, adapter_directory: Path, tmp_path: Path
) -> None:
    broken = copy(adapter_directory, tmp_path)
    edit_config(broken, lora_alpha=32)
    error = await suite.refusal(await suite.publish(broken, qwen, peft={"peft_type": "LORA", "lora_alpha": 16}))
    assert error.reason is Reason.ADAPTER_CONFIG_MISMATCH
    assert error.metadata == {"key": "lora_alpha"}


async def test_manifest_that_names_another_base_than_it_was_trained_on_does_not_help(
    suite: Suite, gpt2: Base, adapter_directory: Path
) -> None:
    error = await suite.refusal(await suite.publish(adapter_directory, gpt2))
    assert error.reason is Reason.ADAPTER_MODULE_NOT_FOUND
    assert "no linear or embedding module" in error.message


async def test_damaged_and_lost_files_are_told_apart(
    suite: Suite, start_inference: StartInference, root: Path, qwen: Base, directories: Callable[..., Path]
) -> None:
    directory = make_adapter(directories("qwen2"), root / "to be damaged", seed=77)
    name = await suite.publish(directory, qwen)
    digest = file_of(directory / WEIGHTS).sha256
    blob = root / "artifacts" / "projects/default/blobs/sha256" / digest[:2] / digest
    original = blob.read_bytes()
    blob.chmod(0o600)
    for damaged in (original[:-4] + b"\0\0\1\0", original[:9] + b"x" + original[10:]):
        blob.write_bytes(damaged)
        error = await (await start_inference()).refusal(name)
        assert (error.reason, error.code) == (Reason.ARTIFACT_CORRUPT, grpc.StatusCode.DATA_LOSS)
    blob.unlink()
    fresh = await start_inference()
    assert (await fresh.refusal(name)).reason is Reason.ADAPTER_FILES_MISSING
    blob.write_bytes(original)
    assert (await fresh.ask(name)).text


async def test_damaged_local_copy_is_fetched_again(
    start_inference: StartInference, suite: Suite, wukong: str, tmp_path: Path, adapter_directory: Path
) -> None:
    fresh = await start_inference()

    async def unload() -> None:
        assert (await fresh.inference.UnloadModel(pb.UnloadModelRequest(model=wukong))).unloaded

    digest = file_of(adapter_directory / WEIGHTS).sha256
    want = (await fresh.ask(wukong)).text
    copies = [path for path in tmp_path.rglob(digest) if path.is_file()]
    assert len(copies) == 1
    await unload()
    assert (await fresh.ask(wukong)).text == want
    assert fresh.store.touched[f"fetch {digest}"] == 1
    copies[0].chmod(0o600)
    copies[0].write_bytes(b"damaged")
    await unload()
    assert (await fresh.ask(wukong)).text == want
    assert fresh.store.touched[f"fetch {digest}"] == 2


def copy(directory: Path, to: Path) -> Path:
    return Path(shutil.copytree(directory, to, dirs_exist_ok=True))
