"""Functions: what a template makes of them, what an answer may be, and what is read from it."""

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from services.common.bases.text import BaseText, render_chat
from services.common.errors import DomainError
from services.inference.constraints.kinds import Calls, JsonObject
from services.inference.constraints.matcher import Matcher
from services.inference.convert import generation_request
from services.inference.model import GenerationRequest
from services.inference.prompt import check_request, with_calls
from services.inference.stops import TextStream
from services.inference.tools.kinds import Mode, Tool, ToolUse
from services.inference.tools.notation import HERMES, LLAMA, MISTRAL, Notation, notation_of
from services.inference.tools.reader import CallReader
from tenon.inference.v1 import inference_pb2 as pb
from tests.support import tool_templates
from tests.support.tiny_bases import CHATML
from tests.unit.inference.tokens import END, byte_level, vocabulary, wrapped

PLACE = {"type": "object", "properties": {"city": {"$ref": "#/$defs/c"}}, "required": ["city"], "$defs": {"c": {"enum": ["Rome"]}}}  # fmt: skip
TOOLS = (
    Tool("weather", "How warm it is.", json.dumps({**PLACE, "additionalProperties": False})),
    Tool("now", "", '{"type": "object", "properties": {}, "additionalProperties": false}'),
)
TEMPLATES = {HERMES: tool_templates.HERMES, LLAMA: tool_templates.LLAMA, MISTRAL: tool_templates.MISTRAL}
ROME, NOW = ("weather", '{"city": "Rome"}'), ("now", "{}")


def with_markers() -> PreTrainedTokenizerFast:
    """Markers are tokens: one of them special, as Mistral's, the others not, as Qwen's."""
    pipeline = Tokenizer.from_str(byte_level().backend_tokenizer.to_str())
    pipeline.add_special_tokens(["[TOOL_CALLS]"])
    pipeline.add_tokens([AddedToken("<tool_call>", special=False), AddedToken("</tool_call>", special=False)])
    return wrapped(pipeline)


TOKENIZERS = {"spelled": byte_level(), "tokens": with_markers()}


def written(notation: Notation, *calls: tuple[str, str]) -> str:
    made = [f'{{"name": "{name}", "{notation.key}": {arguments}}}' for name, arguments in calls]
    if notation is HERMES:
        return "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in made)
    return f"[TOOL_CALLS] [{', '.join(made)}]" if notation is MISTRAL else "".join(made)


def fits(notation: Notation, use: ToolUse, text: str, tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether an answer may be this text, to its end."""
    matcher = compiled(notation, use, tokenizer)
    for token in tokenizer.encode(text, add_special_tokens=False):
        if not may(matcher, token):
            return False
        matcher.accept(token)
    return may(matcher, END)


def compiled(notation: Notation, use: ToolUse, tokenizer: PreTrainedTokenizerFast) -> Matcher:
    return vocabulary(tokenizer).compile(Calls(use, notation, notation.markers(tokenizer)), frozenset({END}))


def may(matcher: Matcher, token: int) -> bool:
    mask = torch.zeros(10, dtype=torch.int32)
    matcher.allow(mask)
    return bool(int(mask[token // 32].item()) >> (token % 32) & 1)


@pytest.mark.parametrize("notation", TEMPLATES, ids=["hermes", "llama", "mistral"])
def test_a_template_tells_its_notation_and_takes_calls_and_their_answers(notation: Notation) -> None:
    assert notation_of(TEMPLATES[notation]) is notation
    call = pb.ToolCall(id=notation.new_id(), name="weather", arguments='{"city": "Rome"}')
    conversation = pb.Conversation(
        messages=[
            pb.ChatMessage(role="user", parts=[pb.ContentPart(text="warm?")]),
            pb.ChatMessage(role="assistant", tool_calls=[call]),
            pb.ChatMessage(role="tool", tool_call_id=call.id, parts=[pb.ContentPart(text="30 degrees")]),
        ],
        tools=[pb.Tool(name="weather", description="How warm it is.")],
    )
    request = generation_request(pb.GenerateRequest(model="b", conversation=conversation))
    check_request(request)
    assert request.messages[2]["name"] == "weather"
    text = render_chat(byte_level(), TEMPLATES[notation], request.messages)
    assert f'{{"name": "weather", "{notation.key}": {{"city": "Rome"}}' in text
    assert "30 degrees" in text


@pytest.mark.parametrize("template", [CHATML, "{# tools #}" + CHATML, "tools <tool_call>" + CHATML])
def test_a_template_without_functions_is_refused(template: str) -> None:
    with pytest.raises(DomainError, match="knows no tools"):
        notation_of(template)


@pytest.mark.parametrize("words", ["<tool_call><function=f>", "[TOOL_CALLS]f[ARGS]", "functools"])
def test_a_notation_that_is_not_known_is_refused(words: str) -> None:
    with pytest.raises(DomainError, match="not known here"):
        notation_of("{% if tools %}" + words + "{% endif %}")


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
@pytest.mark.parametrize("notation", TEMPLATES, ids=["hermes", "llama", "mistral"])
class TestGrammar:
    def test_a_model_that_may_call_writes_text_or_calls_that_the_schema_allows(
        self, notation: Notation, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        use = ToolUse(TOOLS)
        for good in ("", "Hello there.", written(notation, ROME), written(notation, NOW)):
            assert fits(notation, use, good, tokenizer), good
        for call in (("weather", "{}"), ("weather", '{"city": "Oslo"}'), ("nothing", "{}"), ("now", '{"a": 1}')):
            assert not fits(notation, use, written(notation, call), tokenizer), call
        assert not fits(notation, use, written(notation, ROME)[:-1], tokenizer)
        assert fits(notation, use, f"So. {written(notation, ROME)}", tokenizer)
        # Where only the first brace tells, what comes behind text is text.
        assert fits(notation, use, f"So. {written(notation, ('x', '{}'))}", tokenizer) is (notation is LLAMA)

    def test_several_calls(self, notation: Notation, tokenizer: PreTrainedTokenizerFast) -> None:
        both = written(notation, ROME, NOW)
        assert fits(notation, ToolUse(TOOLS), both, tokenizer) is (notation is not LLAMA)
        assert not fits(notation, ToolUse(TOOLS, single=True), both, tokenizer)

    def test_a_model_that_must_call_writes_nothing_else(
        self, notation: Notation, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        required, named = ToolUse(TOOLS, Mode.REQUIRED), ToolUse(TOOLS, "now")
        for use in (required, named):
            assert fits(notation, use, written(notation, NOW), tokenizer)
            assert not fits(notation, use, "", tokenizer)
            assert not fits(notation, use, f"So. {written(notation, NOW)}", tokenizer)
        assert fits(notation, required, written(notation, ROME), tokenizer)
        assert not fits(notation, named, written(notation, ROME), tokenizer)


def test_parameters_that_cannot_be_followed_are_named() -> None:
    bad = Tool("odd", "", '{"type": "object", "not": {}}')
    with pytest.raises(DomainError) as caught:
        compiled(HERMES, ToolUse((*TOOLS, bad)), TOKENIZERS["spelled"])
    assert caught.value.violations[0].field == "conversation.tools[2].parameters_json_schema"
    assert "parameters of odd" in caught.value.message


def read(notation: Notation, pieces: list[str]) -> tuple[str, list[tuple[str, str]], bool]:
    """What a reader makes of an answer: text, calls, and whether it ends with them."""
    reader, content, calls = CallReader(notation), "", []
    for place, piece in enumerate(pieces):
        text, deltas = reader.push(piece, last=place == len(pieces) - 1)
        content += text
        for delta in deltas:
            if delta.id:
                calls.append((delta.name, ""))
            assert delta.index == len(calls) - 1
            name, arguments = calls[-1]
            calls[-1] = (name, arguments + delta.arguments)
    return content, calls, reader.called


@given(data=st.data(), notation=st.sampled_from(list(TEMPLATES)))
def test_calls_are_read_however_they_come(data: st.DataObject, notation: Notation) -> None:
    before = data.draw(st.text("ab<[{ \n", max_size=5)) if notation is not LLAMA else ""
    strings = st.dictionaries(st.text(max_size=4), st.text('"\\{}[]é<tool_call>', max_size=6) | st.lists(st.booleans()))
    count = 1 if notation is LLAMA else data.draw(st.integers(1, 3))
    calls = [("f-_9", json.dumps(data.draw(strings), ensure_ascii=False)) for _ in range(count)]
    text = before + written(notation, *calls)
    pieces, rest = [], text
    while rest:
        size = data.draw(st.integers(1, 9))
        pieces.append(rest[:size])
        rest = rest[size:]
    assert read(notation, pieces) == (before, calls, True)


@pytest.mark.parametrize("text", ["", "Hello.", "a < b", "<tool_cal", "[TOOL", "So {"])
@pytest.mark.parametrize("notation", TEMPLATES, ids=["hermes", "llama", "mistral"])
def test_text_stays_text(notation: Notation, text: str) -> None:
    assert read(notation, [*text, ""]) == (text, [], False)


def test_a_call_that_is_cut_off_is_told_as_far_as_it_came() -> None:
    text = written(HERMES, NOW, ROME)
    cut = text[: text.index("Rome") + 2]
    assert read(HERMES, list(cut)) == ("", [NOW, ("weather", '{"city": "Ro')], False)


def test_ids_differ_and_mistrals_have_nine_characters() -> None:
    assert HERMES.new_id() != HERMES.new_id()
    assert HERMES.new_id().startswith("call_")
    assert len(MISTRAL.new_id()) == 9


def test_a_marker_that_is_a_special_token_is_text_where_calls_may_come() -> None:
    tokenizer = TOKENIZERS["tokens"]
    ids = tokenizer.encode("a[TOOL_CALLS] [é", add_special_tokens=False)
    for kept, expected in ((MISTRAL.markers(tokenizer), "a[TOOL_CALLS] [é"), ({}, "a [é")):
        stream = TextStream(tokenizer, [], located=True, kept={number: text for text, number in kept.items()})
        assert "".join(map(stream.push, ids)) + stream.finish() == expected


def base(template: str | None) -> BaseText:
    return BaseText(byte_level(), template, (END,), {})


def test_functions_are_a_constraint_where_they_may_be_called() -> None:
    request = GenerationRequest("b", messages=({"role": "user", "content": "x"},), tools=ToolUse(TOOLS))
    constraint = with_calls(request, base(tool_templates.HERMES), None).constraint
    assert isinstance(constraint, Calls)
    assert constraint.notation is HERMES
    without = GenerationRequest("b", messages=request.messages, tools=ToolUse(TOOLS, Mode.NONE))
    assert with_calls(without, base(CHATML), None) is without
    with pytest.raises(DomainError, match="knows no tools"):
        with_calls(request, base(CHATML), None)


USER: dict[str, Any] = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"tools": ToolUse((Tool("a b", "", TOOLS[1].parameters),))}, "conversation.tools[0].name"),
        ({"tools": ToolUse((TOOLS[0], TOOLS[0]))}, "conversation.tools"),
        ({"tools": ToolUse((TOOLS[1],) * 129)}, "conversation.tools"),
        ({"tools": ToolUse((Tool("a", "", "{"),))}, "conversation.tools[0].parameters_json_schema"),
        ({"tools": ToolUse((Tool("a", "", '{"type": "string"}'),))}, "conversation.tools[0].parameters_json_schema"),
        ({"tools": ToolUse((Tool("a", "", "true"),))}, "conversation.tools[0].parameters_json_schema"),
        ({"tools": ToolUse((Tool("a", "x" * 20_000, TOOLS[1].parameters),))}, "conversation.tools[0].description"),
        ({"tools": ToolUse(TOOLS, "other")}, "conversation.tool_choice"),
        ({"tools": ToolUse((), Mode.REQUIRED)}, "conversation.tool_choice"),
        (
            {"messages": (USER, {"role": "tool", "content": "x", "tool_call_id": "call_0"})},
            "conversation.messages[1].tool_call_id",
        ),
        ({"messages": ({**USER, "tool_call_id": "call_0"},)}, "conversation.messages[0].tool_call_id"),
        (
            {
                "messages": (
                    {
                        "role": "assistant",
                        "content": "",
                        "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": None}}],
                    },
                )
            },
            "conversation.messages[0].tool_calls[0].arguments",
        ),
    ],
)
def test_what_is_wrong_with_functions_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(DomainError) as caught:
        check_request(GenerationRequest(**{"model": "b", "messages": (USER,), **change}))
    assert [violation.field for violation in caught.value.violations] == [field]


def test_a_constraint_and_functions_exclude_each_other_unless_none_is_shown() -> None:
    request = GenerationRequest("b", messages=(USER,), constraint=JsonObject(), tools=ToolUse(TOOLS))
    with pytest.raises(DomainError, match="held together"):
        check_request(request)
    check_request(GenerationRequest("b", messages=(USER,), constraint=JsonObject(), tools=ToolUse(TOOLS, Mode.NONE)))
