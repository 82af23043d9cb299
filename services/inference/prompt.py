"""From a request to what the engine is asked: rendered, tokenised, held against the context."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from services.common.bases.text import BaseText, render_chat
from services.common.errors import DomainError, Reason, Violation
from services.inference.constraints.faults import constraint_faults
from services.inference.constraints.kinds import Calls
from services.inference.engine.protocol import EngineRequest, Sampling
from services.inference.model import AdapterVersion, GenerationRequest, SamplingWish
from services.inference.tools.faults import call_faults, tool_faults
from services.inference.tools.kinds import ToolUse
from services.inference.tools.notation import check_calls_can_be_shown, notation_of

DEFAULT_MAX_TOKENS: Final = 512
MAX_STOP_TEXTS: Final = 16
MAX_STOP_CHARACTERS: Final = 256
MAX_STOP_TOKENS: Final = 64
MAX_REPETITION_PENALTY: Final = 10.0
MAX_BIASES: Final = 1024
MAX_CHOICES: Final = 16
MAX_LOGPROBS: Final = 20


@dataclass(frozen=True, slots=True)
class Voice:
    """How base and adapter hold a conversation.

    Attributes:
        template: Jinja, or None.
        stop_token_ids: tokens that end a turn.
    """

    template: str | None
    stop_token_ids: frozenset[int]


def check_request(request: GenerationRequest) -> None:
    """Check what can be told from a request alone.

    Raises:
        DomainError: INVALID_ARGUMENT naming every field at fault.
    """
    violations = [
        *_input_faults(request),
        *_sampling_faults(request.sampling),
        *_limit_faults(request),
        *_choice_faults(request),
        *constraint_faults(request.constraint),
        *tool_faults(request.tools, constrained=request.constraint is not None),
        *call_faults(request.messages),
    ]
    if violations:
        text = " ".join(violation.description for violation in violations)
        raise DomainError(Reason.INVALID_ARGUMENT, text, violations=violations)


def _input_faults(request: GenerationRequest) -> list[Violation]:
    faults = []
    if not request.model:
        faults.append(Violation("model", "model is missing: name a base model, an adapter, an alias or a version."))
    if request.prompt is None and not request.messages:
        faults.append(Violation("input", "There is nothing to answer: send a prompt or a conversation."))
    for index, message in enumerate(request.messages):
        if not message["role"]:
            field = f"conversation.messages[{index}].role"
            faults.append(Violation(field, f"{field} is empty; use system, user or assistant."))
    return faults


def _sampling_faults(wish: SamplingWish) -> list[Violation]:
    faults = []
    if wish.temperature is not None and not 0 <= wish.temperature <= 2:
        faults.append(Violation("sampling.temperature", f"temperature is {wish.temperature}; it goes from 0 to 2."))
    if wish.top_p is not None and not 0 < wish.top_p <= 1:
        faults.append(Violation("sampling.top_p", f"top_p is {wish.top_p}; it is above 0 and at most 1."))
    if wish.top_k is not None and wish.top_k < 0:
        faults.append(Violation("sampling.top_k", f"top_k is {wish.top_k}; it is 0 (all tokens) or more."))
    if wish.min_p is not None and not 0 <= wish.min_p <= 1:
        faults.append(Violation("sampling.min_p", f"min_p is {wish.min_p}; it goes from 0 to 1."))
    return [*faults, *_penalty_faults(wish), *_bias_faults(wish)]


def _penalty_faults(wish: SamplingWish) -> list[Violation]:
    faults = []
    if wish.repetition_penalty is not None and not 0 < wish.repetition_penalty <= MAX_REPETITION_PENALTY:
        faults.append(
            Violation(
                "sampling.repetition_penalty",
                f"repetition_penalty is {wish.repetition_penalty}; it is above 0 and at most {MAX_REPETITION_PENALTY}.",
            )
        )
    for name, value in (("presence_penalty", wish.presence_penalty), ("frequency_penalty", wish.frequency_penalty)):
        if value is not None and not -2 <= value <= 2:
            faults.append(Violation(f"sampling.{name}", f"{name} is {value}; it goes from -2 to 2."))
    return faults


def _bias_faults(wish: SamplingWish) -> list[Violation]:
    faults = []
    if len(wish.logit_bias) > MAX_BIASES:
        faults.append(
            Violation(
                "sampling.logit_bias", f"logit_bias names {len(wish.logit_bias)} tokens; {MAX_BIASES} are allowed."
            )
        )
    if not all(-100 <= bias <= 100 for bias in wish.logit_bias.values()):
        faults.append(Violation("sampling.logit_bias", "Each logit_bias goes from -100 to 100."))
    return faults


def _limit_faults(request: GenerationRequest) -> list[Violation]:
    faults = []
    if request.max_tokens < 0:
        faults.append(Violation("max_tokens", f"max_tokens is {request.max_tokens}; it is 0 (as many as fit) or more."))
    if len(request.stop) > MAX_STOP_TEXTS:
        faults.append(Violation("stop", f"stop has {len(request.stop)} texts; at most {MAX_STOP_TEXTS} are allowed."))
    if any(not 0 < len(text) <= MAX_STOP_CHARACTERS for text in request.stop):
        faults.append(Violation("stop", f"Each stop text has 1 to {MAX_STOP_CHARACTERS} characters."))
    if len(request.stop_token_ids) > MAX_STOP_TOKENS:
        fault = f"stop_token_ids has {len(request.stop_token_ids)} tokens; at most {MAX_STOP_TOKENS} are allowed."
        faults.append(Violation("stop_token_ids", fault))
    return faults


def _choice_faults(request: GenerationRequest) -> list[Violation]:
    faults = []
    if not 1 <= request.n <= MAX_CHOICES:
        faults.append(Violation("n", f"n is {request.n}; it goes from 1 to {MAX_CHOICES}, and 0 means 1."))
    if request.logprobs is not None and not 0 <= request.logprobs <= MAX_LOGPROBS:
        faults.append(Violation("logprobs", f"logprobs is {request.logprobs}; it goes from 0 to {MAX_LOGPROBS}."))
    return faults


def voice(text: BaseText, adapter: AdapterVersion | None) -> Voice:
    """The template and stop tokens that the adapter was trained with, else the base's."""
    template, stop = text.chat_template, text.stop_token_ids
    if adapter is not None:
        template = adapter.manifest.chat_template or template
        stop = adapter.manifest.stop_token_ids or stop
    return Voice(template, frozenset(stop))


def engine_request(
    request: GenerationRequest, text: BaseText, adapter: AdapterVersion | None, *, context: int, vocabulary: int
) -> EngineRequest:
    """Render and tokenise. Blocks for long prompts.

    Args:
        request: checked by ``check_request``.
        text: of the base.
        adapter: that answers, or None.
        context: most positions of prompt and answer.
        vocabulary: token ids are below this.

    Raises:
        DomainError: CHAT_TEMPLATE_MISSING, CONTEXT_LENGTH_EXCEEDED, INVALID_ARGUMENT.
    """
    _check_tokens(request, vocabulary)
    speaks = voice(text, adapter)
    token_ids = _token_ids(request, text, speaks)
    return EngineRequest(
        token_ids,
        adapter.name.version if adapter else None,
        _max_tokens(len(token_ids), request.max_tokens, context),
        speaks.stop_token_ids | frozenset(request.stop_token_ids),
        replace(sampling(request.sampling, text.generation_config), logprobs=request.logprobs),
        project=adapter.name.project if adapter else "",
    )


def _check_tokens(request: GenerationRequest, vocabulary: int) -> None:
    """Token ids that the caller names must exist; a bias on one that does not would be passed over."""
    named = {"sampling.logit_bias": request.sampling.logit_bias, "stop_token_ids": request.stop_token_ids}
    faults = [
        Violation(field, f"{field} names a token that the base does not have; its ids are 0 to {vocabulary - 1}.")
        for field, ids in named.items()
        if not all(0 <= token < vocabulary for token in ids)
    ]
    if faults:
        raise DomainError(Reason.INVALID_ARGUMENT, " ".join(fault.description for fault in faults), violations=faults)


def _token_ids(request: GenerationRequest, text: BaseText, speaks: Voice) -> tuple[int, ...]:
    if request.prompt is not None:
        token_ids = text.tokenizer.encode(request.prompt)
    elif speaks.template is not None:
        if any(message["role"] == "tool" or "tool_calls" in message for message in request.messages):
            check_calls_can_be_shown(speaks.template)
        rendered = render_chat(text.tokenizer, speaks.template, request.messages, tools=_functions(request.tools))
        token_ids = text.tokenizer.encode(rendered, add_special_tokens=False)
    else:
        raise DomainError(
            Reason.CHAT_TEMPLATE_MISSING,
            "The base has no chat template, so it takes no conversation. Send a prompt, or use an adapter that was "
            "trained with a template.",
        )
    if not token_ids:
        fault = "The prompt is empty: it comes to no token at all."
        raise DomainError(Reason.INVALID_ARGUMENT, fault, violations=[Violation("prompt", fault)])
    return tuple(token_ids)


def with_calls(request: GenerationRequest, text: BaseText, adapter: AdapterVersion | None) -> GenerationRequest:
    """A request whose functions, where it has any that may be called, are a constraint of its answers.

    Raises:
        DomainError: INVALID_ARGUMENT where the model's template knows no functions.
    """
    template = voice(text, adapter).template
    if template is None or not request.tools.callable:
        return request
    notation = notation_of(template)
    return replace(request, constraint=Calls(request.tools, notation, notation.markers(text.tokenizer)))


def _functions(use: ToolUse) -> list[dict[str, Any]]:
    """Functions as templates take them."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": json.loads(tool.parameters),
            },
        }
        for tool in use.shown
    ]


def _max_tokens(prompt_tokens: int, wanted: int, context: int) -> int:
    left = context - prompt_tokens
    if left < 1 or wanted > left:
        asked = f" and {wanted} for the answer" if wanted else ""
        raise DomainError(
            Reason.CONTEXT_LENGTH_EXCEEDED,
            f"The prompt has {prompt_tokens} tokens{asked}; the base takes {context} in all. Shorten the prompt or "
            "lower max_tokens.",
            {"prompt_tokens": str(prompt_tokens), "context": str(context)},
        )
    return min(wanted or DEFAULT_MAX_TOKENS, left)


def sampling(wish: SamplingWish, defaults: Mapping[str, Any]) -> Sampling:
    """What the caller says, else what generation_config.json says, else the likeliest token.

    Defaults out of range, or for anything but temperature, top_p and top_k, are passed over.
    """
    if defaults.get("do_sample") is not True:
        defaults = {}
    sampled = bool(defaults)
    temperature = _number(defaults.get("temperature"), 0, 2, 1.0 if sampled else 0.0)
    top_p = _number(defaults.get("top_p"), 0, 1, 1.0)
    # transformers samples from the 50 likeliest tokens where nothing is said.
    top_k = int(_number(defaults.get("top_k"), 0, 2**31, 50 if sampled else 0))
    return Sampling(
        temperature=temperature if wish.temperature is None else wish.temperature,
        top_p=(top_p or 1.0) if wish.top_p is None else wish.top_p,
        top_k=top_k if wish.top_k is None else wish.top_k,
        min_p=wish.min_p or 0.0,
        repetition_penalty=1.0 if wish.repetition_penalty is None else wish.repetition_penalty,
        presence_penalty=wish.presence_penalty or 0.0,
        frequency_penalty=wish.frequency_penalty or 0.0,
        logit_bias=wish.logit_bias,
        seed=wish.seed,
    )


def _number(value: object, low: float, high: float, default: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return default
    return float(value) if low <= value <= high else default
