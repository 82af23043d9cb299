"""Text as it streams: whole characters, and nothing of a stop text."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from services.inference.stops import TextStream
from tests.unit.inference.tokens import byte_level, vocabulary, wrapped


def spaced() -> PreTrainedTokenizerFast:
    """Words carry the space before them as a mark, and the first one loses it when it is decoded."""
    pipeline = Tokenizer(WordLevel({"▁mind": 0, "▁the": 1, "▁gap": 2, "s": 3}, unk_token="s"))
    pipeline.decoder = decoders.Metaspace()
    return wrapped(pipeline)


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


def located(
    tokenizer: PreTrainedTokenizerFast, ids: Sequence[int], stop: Sequence[str] = ()
) -> list[tuple[str, list[int]]]:
    """Pieces, each with where its tokens begin in the answer."""
    stream, found = TextStream(tokenizer, stop, located=True), []
    for token in ids:
        found.append((stream.push(token), stream.take()))
        if stream.stopped:
            break
    return [*found, (stream.finish(), stream.take())]


MERGED = byte_level(("a", "b"), ("Ġ", "a"), ("ã", "ģ"), ("b", "ã"))


@given(st.text(alphabet="ab あ😀", max_size=30), st.booleans())
def test_tokens_are_told_where_they_begin(text: str, merged: bool) -> None:
    tokenizer = MERGED if merged else BYTES
    ids = tokenizer.encode(text)
    found = located(tokenizer, ids)
    # A token begins in the character that its first byte belongs to.
    lengths = [len(vocabulary(tokenizer).text(token)) for token in ids]
    starts = [len(character.encode()) for character in text]
    owners = [index for index, size in enumerate(starts) for _ in range(size)]
    assert [offset for _, offsets in found for offset in offsets] == [
        owners[sum(lengths[:at])] for at in range(len(ids))
    ]


@given(st.text(alphabet="abあ", max_size=30), st.lists(st.text(alphabet="abあ", min_size=1, max_size=4), max_size=3))
def test_each_token_is_told_with_the_piece_it_begins_in_and_none_of_the_stop_text(text: str, stop: list[str]) -> None:
    sent = 0
    found = located(BYTES, BYTES.encode(text), stop)
    for piece, offsets in found:
        assert all(sent <= offset < sent + len(piece) for offset in offsets)
        sent += len(piece)
    answer = "".join(piece for piece, _ in found)
    assert sum(len(offsets) for _, offsets in found) == len(answer.encode())


def test_bytes_that_never_become_a_character_are_told_too() -> None:
    found = located(BYTES, BYTES.encode("aあ")[:-1])
    assert [offsets for _, offsets in found] == [[0], [], [], [1, 2]]


def test_special_tokens_are_told_where_they_are() -> None:
    assert [offset for _, offsets in located(BYTES, BYTES.encode("a<|end|>b")) for offset in offsets] == [0, 1, 1]


@pytest.mark.parametrize("count", range(60, 140, 7))
@pytest.mark.parametrize(("place", "text"), [(0, "\ufffd"), (2, "\ufffd"), (3, "")], ids=["first", "last", "special"])
def test_tokens_that_make_no_character_are_not_read_ever_again(place: int, text: str, count: int) -> None:
    token = BYTES.encode("あ<|end|>")[place]
    stream = TextStream(BYTES, [], located=True)
    found, offsets = "", []
    for token_id in [*[token] * count, *BYTES.encode("いx")]:
        found += stream.push(token_id)
        offsets += stream.take()
        assert len(stream._ids) - stream._start <= 128
    found += stream.finish()
    offsets += stream.take()
    assert found == text * count + "いx"
    assert len(offsets) == count + 4
    assert offsets == sorted(offsets)
