"""Whose adapters are served: signatures by trusted keys, provenance, revocation, derived bases, probes."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from safetensors.torch import load_file, save_file

from services.common.errors import DomainError, Reason
from services.common.manifest import Provenance
from services.common.probe import Probe
from tenon.inference.v1 import inference_pb2 as pb
from tenon.registry.v1 import adapter_pb2
from tests.contract.inference.samples import PROBE, make_adapter
from tests.e2e.inference.conftest import Base
from tests.e2e.inference.service import StartInference, Suite
from tests.support.keys import STRANGERS_KEY, TEST_KEY


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A directory of trusted keys, with the tests' own."""
    directory = tmp_path / "keys"
    directory.mkdir()
    (directory / "own.pem").write_bytes(TEST_KEY.public.to_pem())
    return directory


def recorded(directory: Path) -> Probe:
    return Probe.from_json(json.loads((directory / PROBE).read_text()))


async def test_key_that_is_withdrawn_stops_the_answers_it_vouched_for_and_one_that_is_back_starts_them(
    start_inference: StartInference, keys: Path, wukong: str, qwen: Base
) -> None:
    fresh = await start_inference(trusted_keys=(keys,))
    want = (await fresh.ask(wukong)).text
    (keys / "own.pem").unlink()
    (keys / "other.pem").write_bytes(STRANGERS_KEY.public.to_pem())
    error = await fresh.refusal(wukong)
    assert (error.reason, error.code) == (Reason.SIGNATURE_UNTRUSTED, grpc.StatusCode.FAILED_PRECONDITION)
    assert error.metadata == {"key_ids": TEST_KEY.public.key_id, "trusted": STRANGERS_KEY.public.key_id}
    assert (await fresh.ask(qwen[0])).text  # a base needs nobody's word
    (keys / "own.pem").write_bytes(TEST_KEY.public.to_pem())
    assert (await fresh.ask(wukong)).text == want


async def test_only_witnessed_adapters_where_the_policy_says_so(
    start_inference: StartInference, suite: Suite, qwen: Base, wukong: str, adapter_directory: Path
) -> None:
    declared = await suite.publish(adapter_directory, qwen, provenance=Provenance.DECLARED, probe=None)
    answer = await suite.ask(declared)
    assert answer.identity.adapter_provenance == pb.ADAPTER_PROVENANCE_DECLARED
    strict = await start_inference(inference_admit=Provenance.WITNESSED)
    error = await strict.refusal(declared)
    assert (error.reason, error.code) == (Reason.PROVENANCE_NOT_ADMITTED, grpc.StatusCode.FAILED_PRECONDITION)
    assert error.metadata == {"provenance": "declared"}
    assert "TENON_INFERENCE_ADMIT" in error.message
    assert not strict.store.touched
    assert (await strict.ask(wukong)).identity.adapter_provenance == pb.ADAPTER_PROVENANCE_WITNESSED


async def test_revoked_version_answers_no_more_though_it_is_loaded(
    suite: Suite, qwen: Base, root: Path, directories: Callable[..., Path]
) -> None:
    name = await suite.publish(make_adapter(directories("qwen2"), root / "to be revoked", seed=91), qwen)
    version = (await suite.ask(name)).identity.adapter_version
    assert version in await suite.loaded()
    await suite.adapters.RevokeAdapterVersion(
        adapter_pb2.RevokeAdapterVersionRequest(name=version, reason="It learned the wrong rows.")
    )
    for model in (name, version, f"{name}/aliases/latest"):
        error = await suite.refusal(model)
        assert (error.reason, error.code) == (Reason.ADAPTER_VERSION_REVOKED, grpc.StatusCode.FAILED_PRECONDITION)
        assert "wrong rows" in error.message


WRONG_PROBES: dict[str, tuple[Callable[[Probe], Probe | None], str | None, str]] = {
    "none": (lambda _: None, None, "no answers to compare with"),
    "another base": (
        lambda p: change(p, base_logits=[x + 0.1 for x in p.base_logits]),
        "base",
        "alone does not compute",
    ),
    "another adapter": (
        lambda p: change(p, adapter_logits=[x + 0.1 for x in p.adapter_logits]),
        "adapter",
        "off by 0.1",
    ),
    "the base's answers for the adapter's": (
        lambda p: change(p, adapter_logits=[x + 1e-4 for x in p.base_logits]),
        "adapter",
        "a logit is off by",
    ),
    "a token that the base cannot read": (
        lambda p: change(p, prompt_token_ids=[320]),
        "base",
        "not recorded on this base",
    ),
    "a token that the base cannot say": (
        lambda p: change(p, token_ids=[*p.token_ids[:-1], 2**31 - 1]),
        "base",
        "off by inf",
    ),
}


def change(probe: Probe, **values: Any) -> Probe:
    return dataclasses.replace(probe, **{key: tuple(value) for key, value in values.items()})


@pytest.mark.parametrize("fault", WRONG_PROBES)
async def test_adapter_that_does_not_compute_what_it_did_is_refused_and_gone(
    fault: str, suite: Suite, qwen: Base, adapter_directory: Path
) -> None:
    edit, side, words = WRONG_PROBES[fault]
    probe = edit(recorded(adapter_directory))
    before, loaded = (await suite.ask(qwen[0])).text, await suite.loaded()
    error = await suite.refusal(await suite.publish(adapter_directory, qwen, probe=probe))
    assert (error.reason, error.code) == (Reason.PROBE_MISMATCH, grpc.StatusCode.FAILED_PRECONDITION)
    assert error.metadata.get("side") == side
    assert words in error.message
    assert await suite.loaded() == loaded
    assert (await suite.ask(qwen[0])).text == before


async def test_probe_of_a_declared_adapter_must_be_met_too(suite: Suite, qwen: Base, adapter_directory: Path) -> None:
    wrong = change(recorded(adapter_directory), adapter_logits=recorded(adapter_directory).base_logits)
    name = await suite.publish(adapter_directory, qwen, provenance=Provenance.DECLARED, probe=wrong)
    assert (await suite.refusal(name)).reason is Reason.PROBE_MISMATCH


@pytest.fixture(scope="module")
async def halved(suite: Suite, qwen: Base, root: Path, directories: Callable[..., Path]) -> Base:
    """The Qwen2 base in bfloat16, declared derived from it."""
    directory = root / "bases" / "halved"
    directory.mkdir()
    for file in directories("qwen2").iterdir():
        if file.suffix == ".safetensors":
            tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(file).items()}
            save_file(tensors, directory / file.name, {"format": "pt"})
        else:
            (directory / file.name).write_bytes(file.read_bytes())
    return await suite.add_base(directory, derived_from=qwen[1].id)


async def test_derived_base_answers_only_where_the_policy_allows_it(
    start_inference: StartInference, suite: Suite, halved: Base, wukong: str
) -> None:
    error = await suite.refusal(wukong, base_model=halved[0])
    assert (error.reason, error.metadata["verdict"]) == (Reason.ADAPTER_BASE_MISMATCH, "STRUCTURE_DIFFERS")
    liberal = await start_inference(inference_allow_derivatives=True)
    answer = await liberal.ask(wukong, base_model=halved[0])
    assert answer.text
    assert (answer.identity.base_model, answer.identity.base_fingerprint_id) == (halved[0], halved[1].id)
    assert (await liberal.ask(wukong)).identity.base_model != halved[0]


async def test_derived_base_needs_the_probe_and_its_word_that_it_is_derived(
    start_inference: StartInference, suite: Suite, qwen: Base, gpt2: Base, halved: Base, adapter_directory: Path
) -> None:
    liberal = await start_inference(inference_allow_derivatives=True)
    declared = await suite.publish(adapter_directory, qwen, provenance=Provenance.DECLARED, probe=None)
    assert (await liberal.ask(declared)).text
    error = await liberal.refusal(declared, base_model=halved[0])
    assert error.reason is Reason.PROBE_MISMATCH
    assert (await liberal.refusal(declared, base_model=gpt2[0])).reason is Reason.ADAPTER_BASE_MISMATCH
    far = change(recorded(adapter_directory), base_logits=[x + 1 for x in recorded(adapter_directory).base_logits])
    other = await suite.publish(adapter_directory, qwen, probe=far)
    with pytest.raises(DomainError, match="alone does not compute"):
        await liberal.ask(other, base_model=halved[0])
