"""Tokenizers for tests that need no model."""

from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from services.inference.constraints.vocabulary import Vocabulary

END, SIZE = 256, 320
"""Id of the one special token, and the ids of a model with more embeddings than the tokenizer has tokens."""


def byte_level(*merges: tuple[str, str]) -> PreTrainedTokenizerFast:
    """Tokens are bytes, so that a character is cut into several; with merges of them on top."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {word: index for index, word in enumerate([*letters, "<|end|>", *map("".join, merges)])}
    pipeline = Tokenizer(BPE(vocab=vocabulary, merges=list(merges)))
    pipeline.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pipeline.decoder = decoders.ByteLevel()
    pipeline.add_special_tokens(["<|end|>"])
    return wrapped(pipeline)


def wrapped(pipeline: Tokenizer) -> PreTrainedTokenizerFast:
    # transformers leaves it untyped
    return PreTrainedTokenizerFast(tokenizer_object=pipeline, clean_up_tokenization_spaces=False)  # type: ignore[no-untyped-call]


def vocabulary(tokenizer: PreTrainedTokenizerFast) -> Vocabulary:
    """As a base with ``SIZE`` embeddings has it."""
    return Vocabulary(tokenizer, SIZE)
