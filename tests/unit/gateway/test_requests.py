"""Requests for answers and jobs: what is accepted, what is refused, and what the services are told."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.mapping.generation import chat_request, completion_request
from gateway.mapping.generation import in_rest_terms as answer_in_rest_terms
from gateway.mapping.job_requests import JobIdentity, create_request, in_rest_terms
from gateway.schemas.fine_tuning import CreateJob, Hyperparameters
from gateway.schemas.generation import ChatRequest, CompletionRequest
from services.common.errors import DomainError, Reason, Violation
from services.common.resource_names import BaseModelName
from tenon.trainer.v1 import training_job_pb2

CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
COMPLETION: dict[str, Any] = {"model": "tiny", "prompt": "hi"}
JOB: dict[str, Any] = {"model": "tiny", "training_file": "data-1"}
NAME = BaseModelName("tiny")
REQUEST_ID = "5b7f3a4e-1b7e-4a52-9a9c-0c9de6dc3c11"

NEUTRAL: dict[str, Any] = {
    "n": 1, "frequency_penalty": 0.0, "presence_penalty": 0, "logit_bias": {}, "logprobs": False, "top_logprobs": 0,
    "tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "functions": [], "function_call": "none",
    "response_format": {"type": "text"}, "modalities": ["text"], "audio": None, "prediction": None, "store": False,
    "service_tier": "auto", "metadata": {}, "user": "someone", "seed": None, "stop": None, "stream": False,
    "stream_options": None, "prompt_cache_key": "k", "safety_identifier": "s", "reasoning_effort": None,
}  # fmt: skip
UNSUPPORTED: dict[str, Any] = {
    "functions": [{}], "modalities": ["audio"], "store": True,
    "metadata": {"a": "b"}, "web_search_options": {},
}  # fmt: skip
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"b": {"type": "null"}, "a": {"const": "é"}}}
FORMAT: dict[str, Any] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}


def faults(error: ValidationError) -> dict[str, str]:
    return {".".join(map(str, fault["loc"])): fault["msg"] for fault in error.errors()}


@pytest.mark.parametrize("name", NEUTRAL)
def test_neutral_values_of_openais_parameters_are_accepted(name: str) -> None:
    ChatRequest.model_validate({**CHAT, name: NEUTRAL[name]})


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_parameters_without_support_are_refused_by_name(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ChatRequest.model_validate({**CHAT, name: UNSUPPORTED[name]})
    assert "is not supported yet" in faults(caught.value)[name]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1), ("temperature", 2.1), ("temperature", "hot"), ("temperature", float("nan")),
        ("top_p", 0), ("top_p", 1.5), ("top_k", -1), ("max_tokens", 0), ("max_tokens", 1.5), ("max_tokens", 2**31),
        ("seed", 2**63), ("stream", "yes"), ("model", None), ("messages", []), ("messages", "hi"), ("stop", ["x"] * 17),
        ("messages.0.role", "wizard"), ("messages.0.content", 5), ("whatever", 1),
        ("n", 0), ("n", 17), ("n", 1.5), ("n", True), ("top_logprobs", 3), ("top_logprobs", 21), ("logprobs", 5),
        ("frequency_penalty", 2.1), ("frequency_penalty", float("nan")), ("presence_penalty", -2.1), ("min_p", -0.1),
        ("min_p", float("inf")), ("repetition_penalty", 0), ("repetition_penalty", 11), ("logit_bias", {"a": 1}),
        ("logit_bias", {"-1": 1}), ("logit_bias", [1]), ("logit_bias", {str(i): 0 for i in range(1025)}),
        ("response_format", {"type": "json_schema"}), ("response_format", {"type": "text", "json_schema": {"schema": {}}}),
        ("response_format", "json"), ("regex", ""), ("regex", "a" * 8193), ("choice", []), ("choice", "a"),
    ],
)  # fmt: skip
def test_wrong_values_are_refused_where_they_are(field: str, value: object) -> None:
    first, _, rest = field.partition(".0.")
    body = {**CHAT, first: [{**CHAT["messages"][0], rest: value}] if rest else value}
    with pytest.raises(ValidationError) as caught:
        ChatRequest.model_validate(body)
    assert list(faults(caught.value)) == [field]


def test_an_image_is_refused_as_a_part_of_its_message() -> None:
    content = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "x"}}]
    with pytest.raises(ValidationError) as caught:
        ChatRequest.model_validate({**CHAT, "messages": [{"role": "user", "content": content}]})
    assert "messages.0.content.1.type" in faults(caught.value)


def test_a_conversation_reaches_inference_as_it_was_sent() -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": None},
    ]
    chat = ChatRequest.model_validate(
        {"model": "m", "messages": messages, "stop": "\n", "max_completion_tokens": 5, "base_model": "tiny", "top_k": 3}
    )
    request = chat_request(chat, NAME)
    said = [(message.role, [part.text for part in message.parts]) for message in request.conversation.messages]
    assert said == [("system", ["Be brief."]), ("user", ["a", "b"]), ("assistant", [])]
    assert (request.model, request.base_model) == ("baseModels/tiny", "baseModels/tiny")
    assert (request.max_tokens, list(request.stop), request.sampling.top_k) == (5, ["\n"], 3)
    assert not request.sampling.HasField("temperature")


def test_zero_is_a_temperature_and_not_its_absence() -> None:
    request = chat_request(ChatRequest.model_validate({**CHAT, "temperature": 0, "seed": 0}), NAME)
    assert request.sampling.HasField("temperature")
    assert request.sampling.HasField("seed")


WEATHER: dict[str, Any] = {"name": "weather", "parameters": {"type": "object", "properties": {"a": {}, "b": {}}}}


@pytest.mark.parametrize(
    ("choice", "mode"),
    [(None, 1), ("auto", 1), ("none", 2), ("required", 3), ({"type": "function", "function": {"name": "weather"}}, 0)],
)
def test_tools_and_calls_reach_inference(choice: object, mode: int) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"a": 1}'}}
    body = {
        "model": "m",
        "messages": [
            *CHAT["messages"],
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "warm", "tool_call_id": "call_1"},
        ],
        "tools": [{"type": "function", "function": {**WEATHER, "strict": True}}, {"type": "function", "function": {"name": "now"}}],
        "tool_choice": choice,
        "parallel_tool_calls": False,
    }  # fmt: skip
    said = chat_request(ChatRequest.model_validate(body), NAME).conversation
    assert [(tool.name, tool.parameters_json_schema) for tool in said.tools] == [
        ("weather", json.dumps(WEATHER["parameters"])),
        ("now", ""),
    ]
    assert (said.tool_choice.mode, said.tool_choice.function) == (mode, "" if mode else "weather")
    assert said.single_tool_call
    asked = said.messages[1].tool_calls[0]
    assert (asked.id, asked.name, asked.arguments) == ("call_1", "weather", '{"a": 1}')
    assert (said.messages[2].role, said.messages[2].tool_call_id) == ("tool", "call_1")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"tools": [{}]}, "tools.0.type"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools.0.type"),
        ({"tools": [{"type": "function", "function": {"name": "a", "wings": 2}}]}, "tools.0.function.wings"),
        ({"tool_choice": "some"}, "tool_choice.mode"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice.named.type"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": "x", "tool_call_id": "1"}]}, "messages.0"),
        ({"messages": [{"role": "user", "tool_calls": [{"id": "1", "function": {"name": "a", "arguments": ""}}]}]}, "messages.0"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages.0.role"),
    ],
)  # fmt: skip
def test_wrong_tools_are_refused_where_they_are(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ChatRequest.model_validate({**CHAT, **change})
    assert field in faults(caught.value)


def test_a_bias_out_of_range_is_named_with_its_token() -> None:
    with pytest.raises(ValidationError) as caught:
        ChatRequest.model_validate({**CHAT, "logit_bias": {"5": 101, "6": float("nan"), "7": 1}})
    assert list(faults(caught.value)) == ["logit_bias.5", "logit_bias.6"]


def test_how_tokens_are_picked_reaches_inference() -> None:
    said = {
        "n": 3, "frequency_penalty": 0.5, "presence_penalty": -1, "min_p": 0.25, "repetition_penalty": 1.5,
        "logit_bias": {"50": -100, "7": 2}, "logprobs": True, "top_logprobs": 4,
    }  # fmt: skip
    request = chat_request(ChatRequest.model_validate({**CHAT, **said}), NAME)
    sampling = request.sampling
    assert (request.n, request.logprobs, dict(sampling.logit_bias)) == (3, 4, {50: -100, 7: 2})
    assert (sampling.frequency_penalty, sampling.presence_penalty) == (0.5, -1)
    assert (sampling.min_p, sampling.repetition_penalty) == (0.25, 1.5)


def test_logprobs_of_the_tokens_alone_are_not_their_absence() -> None:
    chat = chat_request(ChatRequest.model_validate({**CHAT, "logprobs": True}), NAME)
    plain = completion_request(CompletionRequest.model_validate({**COMPLETION, "logprobs": 0}), NAME)
    for request in (chat, plain):
        assert request.HasField("logprobs")
        assert request.logprobs == 0
    assert not chat_request(ChatRequest.model_validate({**CHAT, "logprobs": False}), NAME).HasField("logprobs")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, "json_object"),
        ({"response_format": FORMAT}, "json_schema"),
        ({"regex": "a+"}, "regex"),
        ({"choice": ["a", "b"], "response_format": {"type": "text"}}, "choice"),
    ],
)
def test_what_the_answer_must_look_like_reaches_inference(said: dict[str, Any], kind: str | None) -> None:
    request = chat_request(ChatRequest.model_validate({**CHAT, **said}), NAME)
    assert request.constraint.WhichOneof("kind") == kind
    assert request.HasField("constraint") is (kind is not None)
    if kind == "json_schema":  # with properties in their order, which answers keep
        assert json.dumps(json.loads(request.constraint.json_schema)) == json.dumps(SCHEMA)


def test_only_one_thing_can_say_what_the_answer_must_look_like() -> None:
    with pytest.raises(DomainError) as caught:
        chat_request(
            ChatRequest.model_validate({**CHAT, "regex": "a", "choice": ["a"], "response_format": FORMAT}), NAME
        )
    assert caught.value.violations[0].field == "choice"
    assert "response_format and regex" in caught.value.message


def test_the_fields_of_inference_are_told_in_rests_words() -> None:
    fields = [
        "constraint.json_schema", "constraint.choice", "sampling.logit_bias", "n", "conversation.tool_choice",
        "conversation.tools[2].parameters_json_schema", "conversation.messages[1].tool_calls[0].arguments",
    ]  # fmt: skip
    error = DomainError(Reason.INVALID_ARGUMENT, "No.", violations=[Violation(field, "no") for field in fields])
    tools = ["tool_choice", "tools.2.function.parameters", "messages.1.tool_calls.0.function.arguments"]
    told = [violation.field for violation in answer_in_rest_terms(error).violations]
    assert told == ["response_format.json_schema.schema", "choice", "logit_bias", "n", *tools]


def test_two_names_of_one_limit_must_agree() -> None:
    with pytest.raises(DomainError) as caught:
        chat_request(ChatRequest.model_validate({**CHAT, "max_tokens": 5, "max_completion_tokens": 6}), NAME)
    assert caught.value.violations[0].field == "max_completion_tokens"


@pytest.mark.parametrize("prompt", ["hi", ["hi"]])
def test_a_prompt_is_one_text(prompt: object) -> None:
    request = completion_request(CompletionRequest.model_validate({**COMPLETION, "prompt": prompt}), NAME)
    assert [part.text for part in request.prompt.parts] == ["hi"]


@pytest.mark.parametrize("prompt", [None, ["a", "b"], [1, 2], [[1]], [], 5])
def test_other_prompts_are_refused(prompt: object) -> None:
    with pytest.raises(ValidationError) as caught:
        CompletionRequest.model_validate({**COMPLETION, "prompt": prompt})
    assert "must be one text" in faults(caught.value)["prompt"]


def test_a_job_is_asked_for_in_the_trainers_words() -> None:
    hyperparameters = {"n_epochs": 3, "batch_size": "auto", "learning_rate": 1e-3, "schedule": "cosine"}
    body = {**JOB, "adapter": "wukong", "seed": 0, "metadata": {"team": "a"}, "validation_file": "data-2"}
    job = CreateJob.model_validate(
        {**body, "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}}
    )
    asked = create_request(job, "").training_job
    assert asked.adapter == "projects/default/adapters/wukong"
    assert (asked.dataset, asked.validation_dataset) == (
        "projects/default/datasets/data-1",
        "projects/default/datasets/data-2",
    )
    assert (asked.hyperparameters.epochs, asked.hyperparameters.learning_rate) == (3, 1e-3)
    assert not asked.hyperparameters.HasField("batch_size")
    assert asked.hyperparameters.HasField("seed")
    assert dict(asked.labels) == {"team": "a"}


def test_a_part_of_the_file_may_be_held_out() -> None:
    asked = create_request(CreateJob.model_validate({**JOB, "validation_fraction": 0}), "").training_job
    assert asked.HasField("validation_fraction")
    assert not create_request(CreateJob.model_validate(JOB), "").training_job.HasField("validation_fraction")
    error = DomainError(
        Reason.INVALID_ARGUMENT,
        "training_job.validation_fraction: no validation_dataset.",
        violations=[Violation("training_job.validation_fraction", "not beside a validation_dataset")],
    )
    told = in_rest_terms(error)
    assert told.message == "validation_fraction: no validation_file."
    assert told.violations[0].field == "validation_fraction"


@pytest.mark.parametrize(
    ("suffix", "adapter"),
    [("Support Bot!", "tiny-support-bot"), ("a" * 64, f"tiny-{'a' * 58}"), ("...", "tiny")],
)
def test_a_suffix_names_the_adapter(suffix: str, adapter: str) -> None:
    asked = create_request(CreateJob.model_validate({**JOB, "suffix": suffix}), "")
    assert asked.training_job.adapter == f"projects/default/adapters/{adapter}"


def test_the_same_request_sent_again_is_the_same_to_the_trainer() -> None:
    job = CreateJob.model_validate(JOB)
    assert create_request(job, REQUEST_ID) == create_request(job, REQUEST_ID)
    assert create_request(job, "").training_job_id != create_request(job, "").training_job_id
    assert create_request(job, "").training_job_id.startswith("ftjob-")
    assert len(JobIdentity.of(REQUEST_ID).token) == 24


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"hyperparameters": {"learning_rate_multiplier": 2.0}}, "hyperparameters.learning_rate_multiplier"),
        ({"hyperparameters": {"n_epochs": "many"}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"momentum": 1}}, "hyperparameters.momentum"),
        ({"hyperparameters": {"schedule": "zigzag"}}, "hyperparameters.schedule"),
        ({"method": {"type": "dpo"}}, "method.type"),
        ({"seed": -1}, "seed"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"integrations": [{"type": "wandb"}]}, "integrations"),
        ({"training_file": None}, "training_file"),
    ],
)
def test_a_job_with_wrong_values_is_refused_where_they_are(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CreateJob.model_validate({**JOB, **change})
    assert list(faults(caught.value)) == [field]


def test_every_hyperparameter_may_be_auto() -> None:
    asked = dict.fromkeys(Hyperparameters.model_fields, "auto")
    chosen = Hyperparameters.model_validate(asked)
    assert {getattr(chosen, name) for name in asked} <= {None, "auto"}
    job = CreateJob.model_validate({**JOB, "hyperparameters": asked, "seed": 7})
    assert create_request(job, "").training_job.hyperparameters == training_job_pb2.Hyperparameters(seed=7)


def test_hyperparameters_have_one_place() -> None:
    job = CreateJob.model_validate({**JOB, "hyperparameters": {}, "method": {"type": "supervised"}})
    with pytest.raises(DomainError) as caught:
        create_request(job, "")
    assert caught.value.violations[0].field == "hyperparameters"


def test_the_trainers_fields_are_told_in_rests_words() -> None:
    error = DomainError(
        Reason.INVALID_ARGUMENT,
        "training_job.hyperparameters.epochs: it is 0. training_job.base_model: no.",
        violations=[
            Violation("training_job.hyperparameters.epochs", "it is 0"),
            Violation("training_job.labels", "no"),
        ],
    )
    told = in_rest_terms(error)
    assert [violation.field for violation in told.violations] == ["hyperparameters.n_epochs", "metadata"]
    assert told.message == "hyperparameters.n_epochs: it is 0. model: no."
