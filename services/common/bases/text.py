"""What a base makes of text: its tokenizer, its chat template, the tokens that end an answer, its sampling defaults.

No torch: a process that only renders and counts tokens needs nothing of the weights.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jinja2 import TemplateError
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from services.common.errors import DomainError, Reason
from services.common.identity import OpenBase

Message = Mapping[str, Any]
"""A message of a conversation as templates take it: role and content, and with calls what Hugging Face's have."""

_FAILURES: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a template's own code may raise; jinja finds some faults of syntax only when Python compiles what it wrote."""

_MARK: Final = "tenonendofturn"


@dataclass(frozen=True, slots=True)
class BaseText:
    """A base's way with text.

    Attributes:
        tokenizer: exactly the pipeline of tokenizer.json, with the roles of its special tokens.
        chat_template: Jinja, or None.
        stop_token_ids: tokens that end an answer, in increasing order.
        generation_config: generation_config.json as it is, or empty.
    """

    tokenizer: PreTrainedTokenizerFast
    chat_template: str | None
    stop_token_ids: tuple[int, ...]
    generation_config: Mapping[str, Any]


def load_text(opened: OpenBase) -> BaseText:
    """Read the documents of an open base.

    Raises:
        DomainError: BASE_NOT_SUPPORTED for a base without tokenizer.json.
    """
    tokenizer = load_tokenizer(opened.tokenizer_json, opened.special_tokens)
    generation_config = opened.generation_config or {}
    stop = {
        *_token_ids(opened.config.get("eos_token_id")),
        *_token_ids(generation_config.get("eos_token_id")),
        *_token_ids(tokenizer.eos_token_id),
        *_token_ids(end_of_turn(tokenizer, opened.chat_template)),
    }
    return BaseText(tokenizer, opened.chat_template, tuple(sorted(stop)), generation_config)


def load_tokenizer(tokenizer_json: bytes | None, special_tokens: Mapping[str, Any]) -> PreTrainedTokenizerFast:
    """Make the tokenizer of the bytes of tokenizer.json.

    A role whose token the pipeline does not know is left out: adding it would make an id that no embedding has.

    Raises:
        DomainError: BASE_NOT_SUPPORTED without tokenizer.json, BASE_FILES_INCONSISTENT where it is malformed.
    """
    if tokenizer_json is None:
        raise DomainError(
            Reason.BASE_NOT_SUPPORTED,
            "The base has no tokenizer.json. Save its fast tokenizer beside its weights, then add it again.",
        )
    try:
        pipeline = Tokenizer.from_buffer(tokenizer_json)
    except Exception as error:  # noqa: BLE001  # the library raises bare Exception
        raise DomainError(
            Reason.BASE_FILES_INCONSISTENT, f"tokenizer.json cannot be read: {error}. Download the base again."
        ) from None
    pipeline.no_padding()
    pipeline.no_truncation()
    roles = {
        role: token
        for role, token in special_tokens.items()
        if isinstance(token, str) and pipeline.token_to_id(token) is not None
    }
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        tokenizer_object=pipeline, clean_up_tokenization_spaces=False, **roles
    )


def render_chat(
    tokenizer: PreTrainedTokenizerFast,
    template: str,
    messages: Sequence[Message],
    *,
    tools: Sequence[Mapping[str, Any]] = (),
    add_generation_prompt: bool = True,
) -> str:
    """Render a conversation, in transformers' sandbox, as text to be tokenised without further special tokens.

    Args:
        tokenizer: of the base.
        template: Jinja.
        messages: the conversation.
        tools: functions that the model is shown, as JSON objects; none where the template shall know of none.
        add_generation_prompt: whether the assistant's turn is begun.

    Raises:
        DomainError: INVALID_ARGUMENT where the template refuses the conversation.
    """
    try:
        text = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tools=[dict(tool) for tool in tools] or None,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
        )
    except (TemplateError, SyntaxError, *_FAILURES) as error:
        raise DomainError(
            Reason.INVALID_ARGUMENT,
            f"The chat template cannot render this conversation: {str(error) or type(error).__name__}.",
        ) from None
    return str(text)


def end_of_turn(tokenizer: PreTrainedTokenizerFast, template: str | None) -> int | None:
    """The special token that the template writes right after an assistant's message, if any."""
    if template is None:
        return None
    for conversation in _samples():
        try:
            text = render_chat(tokenizer, template, conversation, add_generation_prompt=False)
        except DomainError:
            continue
        _, mark, tail = text.rpartition(_MARK)
        ids = tokenizer.encode(tail.strip(), add_special_tokens=False) if mark else []
        known = tokenizer.added_tokens_decoder
        return next((int(token) for token in ids[:1] if token in known and known[token].special), None)
    return None


def _samples() -> Iterator[list[Message]]:
    """Some templates insist on a first message of the user, some on one of the system."""
    user, assistant = {"role": "user", "content": "a"}, {"role": "assistant", "content": _MARK}
    yield [user, assistant]
    yield [{"role": "system", "content": "a"}, user, assistant]


def _token_ids(value: object) -> Iterable[int]:
    items = value if isinstance(value, list | tuple) else [value]
    return [item for item in items if isinstance(item, int) and not isinstance(item, bool) and item >= 0]
