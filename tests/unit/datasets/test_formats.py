"""Each format's rows, and what is wrong with wrong ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.common.errors import DomainError, Reason
from services.trainer.datasets import Conversation, DatasetFormat, Message, Role, TextPair, read_conversations
from tests.unit.datasets.conftest import Check

ALPACA, SHAREGPT = DatasetFormat.ALPACA, DatasetFormat.SHAREGPT
OPENAI, PAIR = DatasetFormat.OPENAI_CHAT, DatasetFormat.PROMPT_COMPLETION


def system(text: str) -> Message:
    return Message(Role.SYSTEM, text, supervised=False)


def user(text: str) -> Message:
    return Message(Role.USER, text, supervised=False)


def answer(text: str, *, supervised: bool = True) -> Message:
    return Message(Role.ASSISTANT, text, supervised=supervised)


def chat(*messages: tuple[str, object]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in messages]}


def turns(*messages: tuple[str, object]) -> dict[str, Any]:
    return {"conversations": [{"from": role, "value": value} for role, value in messages]}


GOOD = {
    "alpaca": (
        ALPACA,
        {"instruction": "Who are you?", "input": "", "output": "The Monkey King."},
        Conversation((user("Who are you?"), answer("The Monkey King."))),
    ),
    "alpaca input on a line of its own": (
        ALPACA,
        {"instruction": "Translate.", "input": "猴王", "output": "monkey king"},
        Conversation((user("Translate.\n猴王"), answer("monkey king"))),
    ),
    "alpaca without an instruction": (
        ALPACA,
        {"instruction": "", "input": "Who?", "output": "Me."},
        Conversation((user("Who?"), answer("Me."))),
    ),
    "alpaca with nulls and unknown keys": (
        ALPACA,
        {"instruction": "a", "input": None, "output": "b", "system": None, "history": None, "id": 7},
        Conversation((user("a"), answer("b"))),
    ),
    "alpaca with system and history": (
        ALPACA,
        {"instruction": "c", "output": "d", "system": "s", "history": [["a", "b"]]},
        Conversation((system("s"), user("a"), answer("b"), user("c"), answer("d"))),
    ),
    "sharegpt": (
        SHAREGPT,
        turns(("system", "s"), ("human", "a"), ("gpt", "b"), ("user", "c"), ("model", "d")),
        Conversation((system("s"), user("a"), answer("b"), user("c"), answer("d"))),
    ),
    "sharegpt with system beside": (
        SHAREGPT,
        {**turns(("human", "a"), ("assistant", "b")), "system": "s", "tools": ""},
        Conversation((system("s"), user("a"), answer("b"))),
    ),
    "sharegpt names in other letters": (
        SHAREGPT,
        turns(("Human", "a"), ("ChatGPT", "b"), ("prompter", "c"), ("bing", "d")),
        Conversation((user("a"), answer("b"), user("c"), answer("d"))),
    ),
    "sharegpt with OpenAI's keys": (
        SHAREGPT,
        {"conversations": chat(("system", "s"), ("user", "a"), ("assistant", "b"))["messages"]},
        Conversation((system("s"), user("a"), answer("b"))),
    ),
    "sharegpt weight": (
        SHAREGPT,
        {
            "conversations": [
                {"from": "human", "value": "a"},
                {"from": "gpt", "value": "b", "weight": 0},
                {"from": "human", "value": "c", "weight": None},
                {"from": "gpt", "value": "d", "weight": 1},
            ]
        },
        Conversation((user("a"), answer("b", supervised=False), user("c"), answer("d"))),
    ),
    "openai with system beside": (
        OPENAI,
        {**chat(("user", "a"), ("assistant", "b")), "system": "s"},
        Conversation((system("s"), user("a"), answer("b"))),
    ),
    "openai": (
        OPENAI,
        chat(("developer", "s"), ("user", "a"), ("assistant", "b")),
        Conversation((system("s"), user("a"), answer("b"))),
    ),
    "openai content parts": (
        OPENAI,
        chat(("user", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), ("assistant", "c")),
        Conversation((user("ab"), answer("c"))),
    ),
    "openai weight": (
        OPENAI,
        {
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b", "weight": 0},
                {"role": "user", "content": "c"},
                {"role": "assistant", "content": "d", "weight": 1, "name": "x"},
            ]
        },
        Conversation((user("a"), answer("b", supervised=False), user("c"), answer("d"))),
    ),
    "prompt and completion": (PAIR, {"prompt": "1, 2, ", "completion": " 3"}, TextPair("1, 2, ", " 3")),
    "empty prompt": (PAIR, {"prompt": "", "completion": "once upon"}, TextPair("", "once upon")),
}


@pytest.mark.parametrize(("layout", "row", "expected"), GOOD.values(), ids=GOOD.keys())
def test_a_good_row_is_read(
    tmp_path: Path, check: Check, layout: DatasetFormat, row: dict[str, Any], expected: Conversation | TextPair
) -> None:
    path = tmp_path / "good.jsonl"
    path.write_text(json.dumps(row) + "\n")
    assert list(read_conversations(path, layout)) == [expected]
    faults, summary = check([row])
    assert not faults
    assert summary.format is layout
    assert summary.statistics.row_count == 1


BAD: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "no output": ({"instruction": "a"}, [("output", '"output" is missing')]),
    "null output": ({"instruction": "a", "output": None}, [("output", '"output" is null')]),
    "blank output": ({"instruction": "a", "output": " \n"}, [("output", "empty")]),
    "wrong types": (
        {"instruction": 3, "input": [], "output": {}, "system": True},
        [("system", "a boolean"), ("input", "an array"), ("instruction", "a number"), ("output", "an object")],
    ),
    "nothing asked": ({"instruction": " ", "output": "b"}, [("instruction", "empty")]),
    "history": (
        {"instruction": "a", "output": "b", "history": [["a"], ["a", 1], ["", "b"], ["c", "d"]]},
        [("history[0]", "two strings"), ("history[1][1]", "a number"), ("history[2][0]", "empty")],
    ),
    "history no array": ({"instruction": "a", "output": "b", "history": "x"}, [("history", "a string")]),
    "unknown role": (
        turns(("human", "a"), ("narrator", "b")),
        [("conversations[1].from", '"narrator" is not supported')],
    ),
    "empty role": (turns(("", "a"), ("gpt", "b")), [("conversations[0].from", '"" is not supported')]),
    "no role": ({"messages": [{"content": "a"}]}, [("messages[0].role", '"role" is missing')]),
    "tools": ({**turns(("human", "a"), ("gpt", "b")), "tools": "[{}]"}, [("tools", "not supported")]),
    "starts with the assistant": (
        turns(("gpt", "a"), ("human", "b")),
        [("conversations[0]", "first comes the user, here it is the assistant")],
    ),
    "two users": (
        chat(("user", "a"), ("user", "b"), ("assistant", "c")),
        [("messages[1]", "after the user's message comes the assistant, here it is the user")],
    ),
    "system in the middle": (
        chat(("user", "a"), ("system", "b"), ("assistant", "c")),
        [("messages[1]", "only allowed as the first")],
    ),
    "no answer": (chat(("user", "a")), [("messages[0]", "ends without an answer")]),
    "system alone": (chat(("system", "a")), [("messages[0]", "ends without an answer")]),
    "nothing supervised": (
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]},
        [("", "every assistant message has weight 0")],
    ),
    "weights": (
        {
            "messages": [
                {"role": "user", "content": "a", "weight": 1},
                {"role": "assistant", "content": "b", "weight": 0.5},
                {"role": "assistant", "content": "b", "weight": True},
                {"role": "assistant", "content": "b", "weight": []},
            ]
        },
        [
            ("messages[0].weight", "Only the assistant's"),
            ("messages[1].weight", "0 (do not"),
            ("messages[2].weight", "0 (do not"),
            ("messages[3].weight", "0 (do not"),
        ],
    ),
    "all that is wrong, not only the first": (
        {"messages": [7, {"role": "user", "content": ""}, {"role": "assistant", "content": None}, {"role": "tool"}]},
        [
            ("messages[0]", "a number"),
            ("messages[1].content", "empty"),
            ("messages[2].content", "null"),
            ("messages[3].role", '"tool" is not supported'),
        ],
    ),
    "images": (
        chat(("user", [{"type": "image_url", "image_url": {}}]), ("assistant", "b")),
        [("messages[0].content[0]", '"type": "text"')],
    ),
    "tool calls": (
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "tool_calls": [{}]}]},
        [("messages[1].tool_calls", "not supported")],
    ),
    "no messages": ({"messages": []}, [("messages", "0 messages")]),
    "messages no array": ({"messages": {}}, [("messages", "an object")]),
    "half a character": (chat(("user", "\ud83d"), ("assistant", "b")), [("messages[0].content", "surrogate")]),
    "no completion": ({"prompt": "a"}, [("completion", "missing")]),
    "blank completion": ({"prompt": "a", "completion": "\t"}, [("completion", "empty")]),
}


@pytest.mark.parametrize(("row", "expected"), BAD.values(), ids=BAD.keys())
def test_every_fault_of_a_row_is_told_with_its_field(
    check: Check, row: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    faults, summary = check([row])
    assert [(fault.line, fault.row, fault.field) for fault in faults] == [(1, 1, field) for field, _ in expected]
    for fault, (_, words) in zip(faults, expected, strict=True):
        assert words in fault.reason
        assert fault.reason.endswith(".")
    assert summary.statistics.row_count == 0
    assert summary.statistics.faulty_row_count == 1
    assert summary.fault_count == len(expected)


def test_reading_for_training_stops_at_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a", "completion": 5}\n')
    rows = read_conversations(path, PAIR)
    assert next(rows) == TextPair("a", "b")
    with pytest.raises(DomainError, match="Line 2, completion: The value is a number") as caught:
        next(rows)
    assert caught.value.reason is Reason.DATASET_INVALID
