"""Answers: of bases and adapters side by side, unary and streamed, plain and chat."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from tenon.inference.v1 import inference_pb2 as pb
from tests.contract.inference.samples import expected_tokens, make_adapter
from tests.e2e.inference.conftest import Base
from tests.e2e.inference.service import Suite, conversation
from tests.support.tiny_bases import VOCABULARY_SIZE, make_tiny_base


def decoded(base: Path, adapter: Path | None, text: str, count: int = 12) -> str:
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokens = expected_tokens(base, adapter, tokenizer.encode(text).ids, count)
    return str(tokenizer.decode(tokens))


async def test_base_and_adapter_answer_as_peft_does_and_say_who_they_are(
    suite: Suite, qwen: Base, wukong: str, adapter_directory: Path, directories: Callable[..., Path]
) -> None:
    base = directories("qwen2")
    alone, adapted = await suite.ask(qwen[0]), await suite.ask(wukong)
    assert alone.text == decoded(base, None, "hello")
    assert adapted.text == decoded(base, adapter_directory, "hello") != alone.text
    assert alone.identity == pb.ModelIdentity(base_model=qwen[0], base_fingerprint_id=qwen[1].id)
    assert adapted.identity.base_model == qwen[0]
    assert adapted.identity.base_fingerprint_id == qwen[1].id
    assert adapted.identity.adapter_version.startswith(f"{wukong}/versions/")
    assert adapted.identity.adapter_provenance == pb.ADAPTER_PROVENANCE_WITNESSED
    assert alone.usage == pb.Usage(prompt_tokens=5, completion_tokens=12)
    assert alone.finish_reason == pb.FINISH_REASON_LENGTH


async def test_three_bases_answer_side_by_side_each_with_its_adapter(
    suite: Suite, qwen: Base, gpt2: Base, wukong: str, tmp_path: Path, directories: Callable[..., Path]
) -> None:
    llama = await suite.add_base(directories("llama"))
    others = {
        name: await suite.publish(make_adapter(directories(kind), tmp_path / kind, kind), base)
        for name, kind, base in (("gpt2", "gpt2", gpt2), ("llama", "llama", llama))
    }
    models = [qwen[0], gpt2[0], llama[0], wukong, others["gpt2"], others["llama"]]
    alone = [(await suite.ask(model, "side by side")).text for model in models]
    assert len(set(alone)) == 6
    together = await asyncio.gather(*(suite.ask(model, "side by side") for model in models * 3))
    assert [answer.text for answer in together] == alone * 3


async def test_stream_is_the_unary_answer_in_pieces(suite: Suite, wukong: str) -> None:
    whole = await suite.ask(wukong, "悟空", max_tokens=60)
    pieces = await suite.stream(wukong, "悟空", max_tokens=60)
    assert "".join(piece.text for piece in pieces) == whole.text
    assert pieces[0].identity == whole.identity
    assert pieces[-1].usage == whole.usage
    assert pieces[-1].finish_reason == whole.finish_reason
    assert len(pieces) > 3
    assert not any(piece.HasField("identity") for piece in pieces[1:])
    assert not any(piece.HasField("usage") for piece in pieces[:-1])


async def test_stop_texts_end_the_answer_before_them(suite: Suite, qwen: Base) -> None:
    whole = (await suite.ask(qwen[0], max_tokens=60)).text
    stop = whole[10:13]
    cut = await suite.ask(qwen[0], max_tokens=60, stop=["never in there", stop])
    assert cut.text == whole[: whole.index(stop)]
    assert cut.finish_reason == pb.FINISH_REASON_STOP
    assert cut.usage.completion_tokens < 60
    pieces = await suite.stream(qwen[0], max_tokens=60, stop=["never in there", stop])
    assert "".join(piece.text for piece in pieces) == cut.text


async def test_conversation_is_rendered_with_the_template_of_the_adapter_and_ends_with_its_stop_tokens(
    suite: Suite, qwen: Base, adapter_directory: Path
) -> None:
    shout = "{% for m in messages %}{{ m.content | upper }}{% endfor %}>"
    chat = await suite.publish(adapter_directory, qwen, chat_template=shout)
    asked = conversation("who", "me", "are you")
    answer = await suite.ask(chat, conversation=asked)
    assert answer.text == (await suite.ask(chat, "WHOMEARE YOU>")).text
    assert answer.usage.prompt_tokens == len("WHOMEARE YOU>")
    rendered = "<|im_start|>user\nwho<|im_end|>\n<|im_start|>assistant\n"
    of_base = await suite.ask(qwen[0], conversation=conversation("who"))
    assert of_base.text == (await suite.ask(qwen[0], rendered)).text

    every_token = tuple(range(VOCABULARY_SIZE))
    silent = await suite.publish(adapter_directory, qwen, chat_template=shout, stop_token_ids=every_token)
    stopped = await suite.ask(silent, conversation=asked)
    assert (stopped.text, stopped.finish_reason, stopped.usage.completion_tokens) == ("", pb.FINISH_REASON_STOP, 1)


async def test_alias_that_moves_counts_at_once(
    suite: Suite, qwen: Base, adapter_directory: Path, tmp_path: Path, directories: Callable[..., Path]
) -> None:
    name = await suite.publish(adapter_directory, qwen)
    before = await suite.ask(name)
    other = make_adapter(directories("qwen2"), tmp_path / "other", seed=9)
    await suite.publish(other, qwen, adapter=name.rpartition("/")[2])
    after = await suite.ask(name)
    assert after.text == (await suite.ask(f"{name}/aliases/latest")).text != before.text
    assert after.identity.adapter_version != before.identity.adapter_version
    again = await suite.ask(before.identity.adapter_version)
    assert again.text == before.text


async def test_base_is_found_by_its_fingerprint_whatever_name_it_has(
    suite: Suite, qwen: Base, adapter_directory: Path, directories: Callable[..., Path]
) -> None:
    orphan = await suite.publish(adapter_directory, qwen)
    again = await suite.add_base(directories("qwen2"))
    answer = await suite.ask(orphan, base_model=again[0])
    assert answer.identity.base_model == again[0] != qwen[0]
    assert answer.text == (await suite.ask(orphan)).text


async def test_generation_defaults_of_the_base_hold_until_the_caller_says_otherwise(
    suite: Suite, root: Path, qwen: Base
) -> None:
    directory = make_tiny_base(root / "bases" / "sampling")
    (directory / "generation_config.json").write_text('{"do_sample": true, "temperature": 1.8, "eos_token_id": 2}')
    name, _ = await suite.add_base(directory)
    drawn = {(await suite.ask(name)).text for _ in range(4)}
    assert len(drawn) > 1
    greedy = pb.SamplingParameters(temperature=0)
    assert (await suite.ask(name, sampling=greedy)).text == (await suite.ask(qwen[0])).text
    seeded = pb.SamplingParameters(temperature=1, seed=5)
    assert (await suite.ask(name, sampling=seeded)).text == (await suite.ask(name, sampling=seeded)).text


async def test_length_is_what_the_context_leaves(suite: Suite, qwen: Base) -> None:
    answer = await suite.ask(qwen[0], "x" * 500, max_tokens=0)
    assert answer.usage.prompt_tokens + answer.usage.completion_tokens == 512
    assert answer.finish_reason == pb.FINISH_REASON_LENGTH


async def test_load_model_tells_what_is_in_memory(suite: Suite, qwen: Base, wukong: str) -> None:
    response = await suite.inference.LoadModel(pb.LoadModelRequest(model=wukong))
    assert response.model.applied_tensors == response.model.total_tensors == 12
    assert response.model.compute.startswith("float32, cpu")
    assert response.model.size_bytes > 0
    names = await suite.loaded()
    assert names.index(qwen[0]) < names.index(response.model.identity.adapter_version)
    first = await suite.inference.ListLoadedModels(pb.ListLoadedModelsRequest(page_size=1))
    rest = await suite.inference.ListLoadedModels(
        pb.ListLoadedModelsRequest(page_size=500, page_token=first.next_page_token)
    )
    assert len(first.models) + len(rest.models) == len(names)
    assert not rest.next_page_token


@pytest.mark.parametrize("text", ["", " ", "\n"])
async def test_short_prompts(suite: Suite, qwen: Base, text: str) -> None:
    if text:
        assert (await suite.ask(qwen[0], text)).usage.prompt_tokens == 1
    else:
        assert (await suite.refusal(qwen[0], text)).violations[0].field == "prompt"
