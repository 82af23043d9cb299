"""The three bases: what each is made of. Changing anything here makes the bases anew on the next run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.resources import files

from examples.base_models import chinese, english
from examples.base_models.dialogue import Dialogue, make_dialogues
from examples.base_models.tokenizer import CHATML, QUESTION_ANSWER, TokenizerRecipe

_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors")
_SOURCE_SUFFIXES = (".py", ".json")


@dataclass(frozen=True, slots=True)
class FamilyRecipe:
    """What bases of one family share: their text and their tokenizer."""

    chinese_rows: int
    english_rows: int
    seed: int
    tokenizer: TokenizerRecipe


@dataclass(frozen=True, slots=True)
class TrainingRecipe:
    """How a base is trained: AdamW, linear warm-up, linear decay to zero. One step reads `batch_size` dialogues."""

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    seed: int


@dataclass(frozen=True, slots=True)
class BaseRecipe:
    """One base model: its architecture, the keywords of its configuration, and its training."""

    name: str
    architecture: str
    family: FamilyRecipe
    context_length: int
    config: Mapping[str, int | float | bool]
    training: TrainingRecipe


QWEN2 = FamilyRecipe(
    chinese_rows=8_000,
    english_rows=3_200,
    seed=20,
    tokenizer=TokenizerRecipe(
        vocabulary_size=1_600,
        turn_words="user\nassistant",
        special_tokens=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        end_of_turn="<|im_end|>",
        pad="<|endoftext|>",
        chat_template=CHATML,
    ),
)
GPT2 = FamilyRecipe(
    chinese_rows=0,
    english_rows=10_000,
    seed=21,
    tokenizer=TokenizerRecipe(
        vocabulary_size=800,
        turn_words="Question: Answer:",
        special_tokens=("<|endoftext|>",),
        end_of_turn="<|endoftext|>",
        pad="<|endoftext|>",
        chat_template=QUESTION_ANSWER,
    ),
)

# Small batches and wide initial weights: at these sizes more steps teach more than more rows in each, and the library's
# initial deviation of 0.02, meant for widths of thousands, costs a hundred steps before anything is learned.
RECIPES: tuple[BaseRecipe, ...] = (
    BaseRecipe(
        name="qwen2-small",
        architecture="Qwen2ForCausalLM",
        family=QWEN2,
        context_length=512,
        config={
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
            "initializer_range": 0.06,
        },
        training=TrainingRecipe(steps=700, batch_size=16, learning_rate=3e-3, warmup_steps=70, seed=1),
    ),
    BaseRecipe(
        name="qwen2-tiny",
        architecture="Qwen2ForCausalLM",
        family=QWEN2,
        context_length=512,
        config={
            "hidden_size": 128,
            "intermediate_size": 352,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
            "initializer_range": 0.07,
        },
        training=TrainingRecipe(steps=700, batch_size=16, learning_rate=4e-3, warmup_steps=70, seed=2),
    ),
    BaseRecipe(
        name="gpt2-tiny",
        architecture="GPT2LMHeadModel",
        family=GPT2,
        context_length=512,
        config={
            "n_embd": 128,
            "n_layer": 3,
            "n_head": 4,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            "initializer_range": 0.06,
        },
        training=TrainingRecipe(steps=600, batch_size=16, learning_rate=3e-3, warmup_steps=60, seed=3),
    ),
)


def family_dialogues(family: FamilyRecipe) -> list[Dialogue]:
    """Answer the text of a family: its Chinese dialogues, then its English ones, not shuffled."""
    return [
        *make_dialogues(chinese.MAKERS, family.chinese_rows, family.seed),
        *make_dialogues(english.MAKERS, family.english_rows, family.seed),
    ]


def recipe_digest(recipe: BaseRecipe) -> str:
    """Answer the SHA-256 over the recipe, the files of this package, and the libraries that turn them into weights."""
    content = {
        "recipe": asdict(recipe),
        "sources": _source_digests(),
        "libraries": {name: version(name) for name in _LIBRARIES},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _source_digests() -> dict[str, str]:
    sources = (file for file in files(__package__).iterdir() if file.name.endswith(_SOURCE_SUFFIXES))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sources}
