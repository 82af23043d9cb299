"""Rows as tokens, with the labels of the answers alone."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from transformers import PreTrainedTokenizerFast

from services.trainer.recipe.labelling.templates import RenderedRow

IGNORED: Final = -100
"""Label of a token that is read and not learnt; ``torch.nn.functional.cross_entropy`` leaves it out by default."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """A row ready for training; both arrays have one entry per token.

    Attributes:
        token_ids: the row.
        labels: the token's own id where it is learnt, else IGNORED. The first token is never learnt: nothing predicts it.
        truncated: whether the row was cut.
    """

    token_ids: "array[int]"
    labels: "array[int]"
    truncated: bool

    @property
    def supervised(self) -> int:
        """How many tokens are learnt."""
        return len(self.labels) - self.labels.count(IGNORED)

    def cut(self, max_length: int) -> "LabelledRow":
        """Keep the first tokens alone."""
        if len(self.token_ids) <= max_length:
            return self
        return LabelledRow(self.token_ids[:max_length], self.labels[:max_length], truncated=True)

    @property
    def last_learnt(self) -> int:
        """The last token that is learnt: where an answer ends."""
        return next(label for label in reversed(self.labels) if label != IGNORED)

    @property
    def prompt_length(self) -> int:
        """Tokens before the first one that is learnt."""
        return next(index for index, label in enumerate(self.labels) if label != IGNORED)


def label_conversation(tokenizer: PreTrainedTokenizerFast, row: RenderedRow, max_length: int) -> LabelledRow:
    """Tokenise a rendered conversation and label the tokens that start within an answer.

    The text is tokenised once, as a whole. Only where a token would reach from a prompt into its answer, so that the
    prompt alone is no prefix in tokens, the text is cut there: generation starts after the prompt's own tokens.
    """
    ids, spans = _encode(tokenizer, row.text, [start for start, _ in row.answers])
    in_answer = bytearray(len(row.text) + 1)
    for start, end in row.answers:
        in_answer[start:end] = b"\1" * (end - start)
    learnt = [bool(in_answer[start]) for start, _ in spans]
    return _cut(ids, learnt, max_length)


def label_pair(tokenizer: PreTrainedTokenizerFast, prompt: str, completion: str, max_length: int) -> LabelledRow:
    """Tokenise a prompt and its completion as they stand, and close with the end-of-text token, which is learnt too."""
    text = prompt + completion
    ids, spans = _encode(tokenizer, text, [len(prompt)], add_special_tokens=True)
    learnt = [start < end and start >= len(prompt) for start, end in spans]
    end_of_text = tokenizer.eos_token_id
    if isinstance(end_of_text, int) and (not ids or ids[-1] != end_of_text):
        ids, learnt = [*ids, end_of_text], [*learnt, True]
    elif ids:
        learnt[-1] = True
    return _cut(ids, learnt, max_length)


def _cut(ids: Sequence[int], learnt: Sequence[bool], max_length: int) -> LabelledRow:
    labels = [token if keep else IGNORED for token, keep in zip(ids, learnt, strict=True)]
    if labels:
        labels[0] = IGNORED
    return LabelledRow(array("q", ids), array("q", labels), truncated=False).cut(max_length)


def _encode(
    tokenizer: PreTrainedTokenizerFast, text: str, starts: Sequence[int], *, add_special_tokens: bool = False
) -> tuple[list[int], list[Span]]:
    ids, spans = _encode_piece(tokenizer, text, 0, add_special_tokens=add_special_tokens)
    cuts = [cut for cut in starts if any(start < cut < end for start, end in spans)]
    if not cuts:
        return ids, spans
    edges = [0, *cuts, len(text)]
    pieces = [
        _encode_piece(tokenizer, text[start:end], start, add_special_tokens=add_special_tokens and start == 0)
        for start, end in pairwise(edges)
    ]
    return [token for piece, _ in pieces for token in piece], [span for _, piece in pieces for span in piece]


def _encode_piece(
    tokenizer: PreTrainedTokenizerFast, text: str, offset: int, *, add_special_tokens: bool
) -> tuple[list[int], list[Span]]:
    encoding = tokenizer(
        text, add_special_tokens=add_special_tokens, return_offsets_mapping=True, return_attention_mask=False
    )
    return list(encoding["input_ids"]), _whole_spans(encoding["offset_mapping"], offset)


def _whole_spans(offsets: Sequence[Span], shift: int) -> list[Span]:
    """Give each token the white space before it: some tokenizers trim it off the offsets, though the token holds it.

    Tokens that stand for no text, such as a beginning-of-text token, keep an empty span.
    """
    spans, reached = [], 0
    for start, end in offsets:
        if start == end:
            spans.append((reached + shift, reached + shift))
            continue
        spans.append((min(start, reached) + shift, end + shift))
        reached = end
    return spans
