"""Tools: calls in the notation of each template, forced and free, whole and in pieces, and their answers taken back."""

import json
from typing import Any, Literal

import httpx2
import openai
import pydantic
import pytest

MODELS = ("tools-hermes", "tools-llama", "tools-mistral")
HI: Any = [{"role": "user", "content": "How warm is it?"}]
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "kelvin": {"type": "boolean"}},
    "required": ["city", "kelvin"],
    "additionalProperties": False,
}
TOOLS: Any = [
    {"type": "function", "function": {"name": "weather", "description": "How warm it is.", "parameters": PARAMETERS}},
    {"type": "function", "function": {"name": "now"}},
]
CALLING: dict[str, Any] = {
    "messages": HI,
    "tools": TOOLS,
    "parallel_tool_calls": False,
    "max_tokens": 400,
    "temperature": 0.7,
    "seed": 5,
}
WEATHER: Any = {"type": "function", "function": {"name": "weather"}}


class Weather(pydantic.BaseModel):
    """How warm it is."""

    model_config = pydantic.ConfigDict(title="weather")

    city: Literal["Paris", "Rome"]
    kelvin: bool


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("choice", ["required", WEATHER], ids=["required", "named"])
def test_a_call_that_is_asked_for_comes_and_its_answer_is_taken_back(
    client: openai.OpenAI, model: str, choice: Any
) -> None:
    answer = client.chat.completions.create(model=model, tool_choice=choice, **CALLING)
    [made] = answer.choices
    assert made.finish_reason == "tool_calls"
    assert made.message.content is None
    [call] = made.message.tool_calls or []
    assert call.type == "function"
    arguments = json.loads(call.function.arguments)
    if call.function.name == "weather":
        assert arguments["city"] in {"Paris", "Rome"}
        assert set(arguments) == {"city", "kelvin"}
    else:
        assert (call.function.name, arguments, choice) == ("now", {}, "required")
    told: Any = [*HI, made.message, {"role": "tool", "tool_call_id": call.id, "content": "30 degrees"}]
    after = client.chat.completions.create(model=model, messages=told, tools=TOOLS, tool_choice="none", max_tokens=4)
    assert after.choices[0].message.tool_calls is None
    assert after.usage is not None
    assert answer.usage is not None
    assert client.chat.completions.create(model=model, messages=told, tools=TOOLS, max_tokens=4).choices


@pytest.mark.parametrize("model", MODELS)
def test_calls_come_in_pieces(client: openai.OpenAI, model: str) -> None:
    whole = client.chat.completions.create(model=model, tool_choice=WEATHER, **CALLING).choices[0]
    chunks = list(client.chat.completions.create(model=model, tool_choice=WEATHER, stream=True, **CALLING))
    pieces = [piece for chunk in chunks for piece in chunk.choices[0].delta.tool_calls or []]
    assert len(pieces) > 2
    first, *rest = pieces
    assert first.function is not None
    assert (first.index, first.type, first.function.name) == (0, "function", "weather")
    assert first.id
    assert {(piece.index, piece.id, piece.type) for piece in rest} == {(0, None, None)}
    arguments = "".join((piece.function.arguments if piece.function else None) or "" for piece in pieces)
    assert whole.message.tool_calls
    assert whole.message.tool_calls[0].type == "function"
    assert arguments == whole.message.tool_calls[0].function.arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_openais_client_reads_the_pieces_itself(client: openai.OpenAI) -> None:
    tool = openai.pydantic_function_tool(Weather, name="weather")
    with client.chat.completions.stream(
        model="tools-hermes", messages=HI, tools=[tool], tool_choice=WEATHER, max_tokens=400, temperature=0
    ) as stream:
        kinds = {event.type for event in stream}
        message = stream.get_final_completion().choices[0].message
    assert "tool_calls.function.arguments.delta" in kinds
    assert message.tool_calls
    assert isinstance(message.tool_calls[0].function.parsed_arguments, Weather)


def test_a_model_that_may_call_writes_text_or_calls(client: openai.OpenAI) -> None:
    text = client.chat.completions.create(model="tools-llama", messages=HI, tools=TOOLS, max_tokens=5, temperature=0)
    assert text.choices[0].message.tool_calls is None
    assert text.choices[0].message.content
    # With its first brace a model of Llama's notation calls; the tiny tokenizer's byte { is the token 93.
    called = client.chat.completions.create(model="tools-llama", logit_bias={"93": 100}, **CALLING)
    assert called.choices[0].finish_reason == "tool_calls"
    assert called.choices[0].message.tool_calls


def test_several_answers_each_have_their_calls(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="tools-mistral", n=3, tool_choice="required", **CALLING)
    ids = [call.id for choice in answer.choices for call in choice.message.tool_calls or []]
    assert len(ids) == len(set(ids)) == 3


def test_an_answer_that_is_cut_off_says_so(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="tools-hermes", tool_choice=WEATHER, **{**CALLING, "max_tokens": 60})
    assert answer.choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": "tiny-qwen"}, "tools"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools.0.type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
        ({"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "array"}}}]}, "tools.0.function.parameters"),
        (
            {"tools": [*TOOLS, {"type": "function", "function": {"name": "a", "parameters": {"type": "object", "not": {}}}}]},
            "tools.2.function.parameters",
        ),
        ({"tools": [TOOLS[0], TOOLS[0]]}, "tools"),
        ({"tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "tools"),
        ({"functions": [{"name": "x"}]}, "functions"),
        ({"messages": [*HI, {"role": "tool", "content": "x", "tool_call_id": "call_0"}]}, "messages.1.tool_call_id"),
        ({"messages": [*HI, {"role": "tool", "content": "x"}]}, "messages.1"),
    ],
    ids=range(12),
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_named(http: httpx2.Client, change: dict[str, Any], param: str, stream: bool) -> None:
    body = {"model": "tools-hermes", **CALLING, "stream": stream, **change}
    answer = http.post("/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_argument", param), answer.text


def test_a_base_without_tool_calls_in_its_template_does_not_lose_them(client: openai.OpenAI) -> None:
    call: Any = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    told: Any = [
        *HI,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "x"},
    ]
    with pytest.raises(openai.BadRequestError, match="knows no tool calls"):
        client.chat.completions.create(model="tiny-qwen", messages=told, max_tokens=2)
