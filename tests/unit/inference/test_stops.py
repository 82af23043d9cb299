"""Text as it streams: whole characters, and nothing of a stop text."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE, WordLevel
from transformers import PreTrainedTokenizerFast

from services.inference.stops import TextStream


def byte_level() -> PreTrainedTokenizerFast:
    """Tokens are bytes, so that a character is cut into several."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pipeline = Tokenizer(BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    pipeline.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pipeline.decoder = decoders.ByteLevel()
    pipeline.add_special_tokens(["<|end|>"])
    return wrapped(pipeline)


def spaced() -> PreTrainedTokenizerFast:
    """Words carry the space before them as a mark, and the first one loses it when it is decoded."""
    pipeline = Tokenizer(WordLevel({"▁mind": 0, "▁the": 1, "▁gap": 2, "s": 3}, unk_token="s"))
    pipeline.decoder = decoders.Metaspace()
    return wrapped(pipeline)


def wrapped(pipeline: Tokenizer) -> PreTrainedTokenizerFast:
    # transformers leaves it untyped
    return PreTrainedTokenizerFast(tokenizer_object=pipeline, clean_up_tokenization_spaces=False)  # type: ignore[no-untyped-call]


BYTES = byte_level()


def pieces(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int], stop: Sequence[str] = ()) -> list[str]:
    stream, found = TextStream(tokenizer, stop), []
    for token in ids:
        found.append(stream.push(token))
        if stream.stopped:
            break
    return [*found, stream.finish()]


@given(st.text(max_size=40))
def test_pieces_are_the_text_and_never_half_a_character(text: str) -> None:
    found = pieces(BYTES, BYTES.encode(text))
    assert "".join(found) == text
    assert all(text.startswith("".join(found[:index])) for index in range(len(found)))


@given(st.text(alphabet="abあ", max_size=30), st.lists(st.text(alphabet="abあ", min_size=1, max_size=4), max_size=3))
def test_text_ends_before_the_stop_text_that_is_complete_first(text: str, stop: list[str]) -> None:
    found = "".join(pieces(BYTES, BYTES.encode(text), stop))
    ends = [(text.find(item) + len(item), text.find(item)) for item in stop if item in text]
    assert found == (text[: min(ends)[1]] if ends else text)


def test_nothing_is_sent_that_may_be_the_beginning_of_a_stop_text() -> None:
    stream = TextStream(BYTES, ["\n\nUser:"])
    sent = [stream.push(token) for token in BYTES.encode("fine\n\nUs")]
    assert "".join(sent) == "fine"
    assert stream.push(BYTES.encode("a")[0]) == "\n\nUsa"
    assert not stream.stopped


def test_bytes_that_never_become_a_character_come_at_the_end() -> None:
    found = pieces(BYTES, BYTES.encode("aあ")[:-1])
    assert found[:-1] == ["a", "", ""]
    assert found[-1] == "\ufffd"


def test_special_tokens_are_no_text() -> None:
    ids = BYTES.encode("a<|end|>b")
    assert len(ids) == 3
    assert "".join(pieces(BYTES, ids)) == "ab"


@pytest.mark.parametrize(("ids", "text"), [([0, 1, 2], "mind the gap"), ([2, 3, 2], "gaps gap")])
def test_spaces_between_words_survive_the_cut(ids: list[int], text: str) -> None:
    assert "".join(pieces(spaced(), ids)) == text
