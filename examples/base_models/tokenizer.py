"""One byte-level BPE tokenizer per family, trained on the family's own text (Sennrich et al., 2016; GPT-2 for bytes).

Digits stand alone in both families: a bank code then is the same tokens wherever it appears.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.normalizers import NFC
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

# Qwen2's own split (contractions, words with at most one leading character, single digits, punctuation, white space),
# after each Chinese character for itself: merges across characters would fill so small a vocabulary with half ones.
_CHINESE = r"\p{Han}"
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CHATML = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# The answer starts on a line of its own, so that the tokens of the prompt are a prefix of those of the whole.
QUESTION_ANSWER = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}Answer:\n{{ message['content'] }}{{ eos_token }}\n"
    "{% else %}Question: {{ message['content'] }}\n{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}Answer:\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class TokenizerRecipe:
    """How a family's text becomes tokens."""

    vocabulary_size: int
    special_tokens: tuple[str, ...]
    turn_words: str  # the plain words of the template, which deserve tokens of their own
    end_of_turn: str
    pad: str
    chat_template: str


def train_tokenizer(recipe: TokenizerRecipe, texts: Iterable[str], context_length: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer on `texts`; the special tokens take the first ids, in the order of the recipe."""
    backend = Tokenizer(BPE())
    backend.normalizer = NFC()
    backend.pre_tokenizer = Sequence(
        [
            Split(Regex(_CHINESE), behavior="isolated"),
            Split(Regex(_SPLIT), behavior="isolated"),
            ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = ByteLevelDecoder()
    backend.train_from_iterator((f"{recipe.turn_words}\n{text}" for text in texts), _trainer(recipe))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        tokenizer_object=backend,
        eos_token=recipe.end_of_turn,
        pad_token=recipe.pad,
        chat_template=recipe.chat_template,
        model_max_length=context_length,
        clean_up_tokenization_spaces=False,
    )


def _trainer(recipe: TokenizerRecipe) -> BpeTrainer:
    return BpeTrainer(
        vocab_size=recipe.vocabulary_size,
        special_tokens=list(recipe.special_tokens),
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
