"""What is learnt of a row, against expectations written by hand."""

from typing import Any

import pytest
from tokenizers import pre_tokenizers, processors

from services.common.bases.loader import LoadedBase
from services.common.errors import DomainError, Reason
from services.trainer.datasets import Conversation, Message, Role
from services.trainer.recipe.labelling.labels import IGNORED, LabelledRow, label_conversation, label_pair
from services.trainer.recipe.labelling.templates import plain_template, render
from tests.unit.recipe.conftest import Load, conversation, learnt_text

LONG = 10_000
START, END = 1, 2


def row_of(base: LoadedBase, rows: Conversation, template: str | None = None, length: int = LONG) -> LabelledRow:
    wanted = template or base.chat_template
    assert wanted is not None
    return label_conversation(base.tokenizer, render(base.tokenizer, wanted, rows), length)


def ids_of(base: LoadedBase, text: str) -> list[int]:
    return list(base.tokenizer(text, add_special_tokens=False)["input_ids"])


def test_one_turn_learns_the_answer_and_its_end(load: Load) -> None:
    base = load()
    row = row_of(base, conversation(("user", "hi"), ("assistant", "yo")))
    prompt = [START, *ids_of(base, "user\nhi"), END, *ids_of(base, "\n"), START, *ids_of(base, "assistant\n")]
    answer = [*ids_of(base, "yo"), END]
    assert list(row.token_ids) == [*prompt, *answer, *ids_of(base, "\n")]
    assert list(row.labels) == [IGNORED] * len(prompt) + answer + [IGNORED]
    assert row.prompt_length == len(prompt)
    assert row.supervised == 3
    assert not row.truncated


def test_every_answer_of_a_conversation_is_learnt(load: Load) -> None:
    base = load()
    turns = [("system", "s"), ("user", "a"), ("assistant", "one"), ("user", "one"), ("assistant", "猴王\n")]
    assert learnt_text(base, row_of(base, conversation(*turns))) == ["one<|im_end|>", "猴王\n<|im_end|>"]


def test_an_answer_of_weight_0_is_read_and_not_learnt(load: Load) -> None:
    base = load()
    row = conversation(("user", "a"), ("assistant", "no"), ("user", "b"), ("assistant", "yes"))
    muted = Message(Role.ASSISTANT, "no", supervised=False)
    row = Conversation((row.messages[0], muted, *row.messages[2:]))
    assert learnt_text(base, row_of(base, row)) == ["yes<|im_end|>"]


def test_an_answer_that_repeats_the_prompt_is_found_at_its_place(load: Load) -> None:
    base = load()
    row = row_of(base, conversation(("user", "assistant"), ("assistant", "assistant")))
    assert learnt_text(base, row) == ["assistant<|im_end|>"]
    assert row.prompt_length == len(row.token_ids) - len("assistant") - 2


def test_gpt2_without_a_template_gets_the_plain_one(load: Load) -> None:
    base = load("gpt2", chat_template=None)
    assert base.chat_template is None
    template = plain_template(base.tokenizer)
    row = row_of(base, conversation(("system", "s"), ("user", "q"), ("assistant", "a")), template)
    text = "System:\ns\n\nUser:\nq\n\nAssistant:\na<|im_end|>\n\n"
    assert list(row.token_ids) == ids_of(base, text)
    assert learnt_text(base, row) == ["a<|im_end|>"]
    assert row.prompt_length == len("System:\ns\n\nUser:\nq\n\nAssistant:\n")


def test_a_row_is_cut_and_says_so(load: Load) -> None:
    base = load()
    rows = conversation(("user", "hi"), ("assistant", "yo"))
    whole = row_of(base, rows)
    cut = row_of(base, rows, length=whole.prompt_length + 1)
    assert list(cut.token_ids) == list(whole.token_ids[: whole.prompt_length + 1])
    assert learnt_text(base, cut) == ["y"]
    assert cut.truncated
    assert row_of(base, rows, length=whole.prompt_length).supervised == 0


MERGED = "{% for m in messages %}{{ m.content }}{{ 'Q' if m.role == 'user' else 'E' }}{% endfor %}"


def test_a_token_never_reaches_from_the_prompt_into_the_answer(load: Load) -> None:
    base = load(merges=(("Q", "x"),))
    assert len(ids_of(base, "aQx")) == 2  # the prompt's tokens are no prefix of the row's
    row = row_of(base, conversation(("user", "a"), ("assistant", "xy"), ("user", "b"), ("assistant", "z")), MERGED)
    assert list(row.token_ids) == [token for letter in "aQxyEbQzE" for token in ids_of(base, letter)]
    assert learnt_text(base, row) == ["xyE", "zE"]


def test_a_merge_at_the_end_of_an_answer_is_learnt(load: Load) -> None:
    base = load(merges=(("y", "E"),))
    row = row_of(base, conversation(("user", "a"), ("assistant", "xy")), MERGED)
    assert list(row.token_ids) == ids_of(base, "aQxyE")
    assert len(row.token_ids) == 4
    assert learnt_text(base, row) == ["xyE"]


def test_a_template_without_a_generation_prompt_learns_what_generation_must_write(load: Load) -> None:
    template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    base = load()
    row = row_of(base, conversation(("user", "a"), ("assistant", "b")), template)
    assert learnt_text(base, row) == ["[assistant]b"]


def test_a_template_that_opens_the_answer_itself_starts_at_the_common_text(load: Load) -> None:
    template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>think:{% endif %}"
    )
    base = load()
    row = row_of(base, conversation(("user", "a"), ("assistant", "b")), template)
    assert learnt_text(base, row) == ["b<|im_end|>"]


def test_a_template_that_shortens_earlier_answers(load: Load) -> None:
    template = (
        "{% for m in messages %}<{{ m.role }}>"
        "{{ m.content if loop.last else m.content.split('|')[-1] }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    base = load()
    rows = conversation(("user", "a"), ("assistant", "t|b"), ("user", "c"), ("assistant", "t|d"))
    # Of the first answer, what generation would have written is no longer there.
    assert learnt_text(base, row_of(base, rows, template)) == ["t|d<|im_end|>"]


def test_a_template_that_refuses_a_row_is_told(load: Load) -> None:
    base = load()
    template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(DomainError, match="System role not supported") as caught:
        row_of(base, conversation(("user", "a"), ("assistant", "b")), template)
    assert caught.value.reason is Reason.NOTHING_TO_LEARN


@pytest.mark.parametrize(
    "template",
    ["{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ 1 // 0 }}", "{{ [][0].x }}"],
    ids=["calls itself", "divides by zero", "looks in vain"],
)
def test_a_template_that_fails_in_its_own_way_is_told(load: Load, template: str) -> None:
    base = load()
    with pytest.raises(DomainError, match="cannot render"):
        row_of(base, conversation(("user", "a"), ("assistant", "b")), template)


def test_a_pair_is_used_as_it_stands_and_closed(load: Load) -> None:
    base = load()
    row = label_pair(base.tokenizer, "1, 2,", " 3", LONG)
    assert list(row.token_ids) == [*ids_of(base, "1, 2, 3"), END]
    assert learnt_text(base, row) == [" 3<|im_end|>"]


@pytest.mark.parametrize(("prompt", "completion", "merge"), [("ab", "cd", ("b", "c")), ("a ", "b", ("Ġ", "b"))])
def test_a_pair_is_tokenised_as_generation_will_see_it(
    load: Load, prompt: str, completion: str, merge: tuple[str, str]
) -> None:
    base = load(merges=(merge,))
    row = label_pair(base.tokenizer, prompt, completion, LONG)
    assert list(row.token_ids) == [*ids_of(base, prompt), *ids_of(base, completion), END]
    assert learnt_text(base, row) == [completion + "<|im_end|>"]


def test_white_space_trimmed_off_the_offsets_still_belongs_to_its_token(load: Load) -> None:
    base = load(merges=(("Ġ", "b"),))
    pipeline = base.tokenizer.backend_tokenizer
    pipeline.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    pipeline.post_processor = processors.ByteLevel(trim_offsets=True)
    assert base.tokenizer("a b", return_offsets_mapping=True)["offset_mapping"] == [(0, 1), (2, 3)]
    row = label_pair(base.tokenizer, "a ", "b", LONG)
    assert len(row.token_ids) == 4
    assert learnt_text(base, row) == ["b<|im_end|>"]


def test_tokens_that_the_tokenizer_adds_are_read_and_not_learnt(load: Load) -> None:
    base = load()
    pipeline: Any = base.tokenizer.backend_tokenizer
    pipeline.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A <|im_end|>", special_tokens=[("<|im_start|>", START), ("<|im_end|>", END)]
    )
    row = label_pair(base.tokenizer, "a", "b", LONG)
    assert list(row.token_ids) == [START, *ids_of(base, "ab"), END]
    assert learnt_text(base, row) == ["b<|im_end|>"]
    chat = row_of(base, conversation(("user", "a"), ("assistant", "b")))
    assert list(chat.token_ids).count(START) == 2


def test_the_very_first_token_is_never_learnt(load: Load) -> None:
    row = label_pair(load().tokenizer, "", "ab", LONG)
    assert learnt_text(load(), row) == ["b<|im_end|>"]
