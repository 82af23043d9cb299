"""Tiny random base models in Hugging Face layout, for every test that needs one."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

CHATML: Final = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The ChatML template, without a default system prompt."""

SPECIAL_TOKENS: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Ids 0, 1 and 2; the 256 bytes follow."""

SPREAD: Final = 0.2
"""Standard deviation of the weights: ten times the usual, without which so narrow a model can hardly prefer a token."""

VOCABULARY_SIZE: Final = 320
"""More than the 259 tokens there are, as in real bases."""

WINDOW: Final = 8
"""Positions that layers with a sliding window see: fewer than the prompts of tests have."""


def make_tiny_base(
    directory: Path,
    architecture: str = "qwen2",
    *,
    seed: int = 0,
    hidden: int = 32,
    layers: int = 2,
    context: int = 512,
    chat_template: str | None = CHATML,
    merges: tuple[tuple[str, str], ...] = (),
    tied: bool | None = None,
) -> Path:
    """Save a random causal LM with a byte-level tokenizer; the same arguments give the same bytes.

    Args:
        directory: made if it is not there.
        architecture: a key of ``ARCHITECTURES``.
        seed: of the weights.
        hidden: width, a multiple of 16.
        layers: number of decoder layers.
        context: longest sequence.
        chat_template: the tokenizer's template, or None for a base without one.
        merges: BPE merges on top of the bytes, in the byte-level alphabet.
        tied: whether the output matrix is the embedding; None leaves it to the architecture.

    Returns:
        The directory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    tying = {} if tied is None else {"tie_word_embeddings": tied}
    shape = {**ARCHITECTURES[architecture](hidden, layers, context), **tying}
    config = AutoConfig.for_model(architecture, initializer_range=SPREAD, **shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # transformers leaves these two calls untyped.
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    model.generation_config = GenerationConfig(eos_token_id=2, pad_token_id=0)  # type: ignore[no-untyped-call]
    model.save_pretrained(directory)
    save_tokenizer(directory, chat_template, merges)
    return directory


def save_tokenizer(directory: Path, chat_template: str | None, merges: tuple[tuple[str, str], ...]) -> None:
    """Write tokenizer.json and tokenizer_config.json of a byte-level tokenizer."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*SPECIAL_TOKENS, *letters, *(first + second for first, second in merges)]
    tokenizer = Tokenizer(BPE(vocab={word: number for number, word in enumerate(words)}, merges=list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.save(str(directory / "tokenizer.json"))
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
    }
    if chat_template is not None:
        settings["chat_template"] = chat_template
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def _llama_like(hidden: int, layers: int, context: int) -> Mapping[str, Any]:
    return {
        "vocab_size": VOCABULARY_SIZE,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": context,
        "bos_token_id": None,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }


def _tied(hidden: int, layers: int, context: int) -> Mapping[str, Any]:
    return {**_llama_like(hidden, layers, context), "tie_word_embeddings": True}


def _gpt2(hidden: int, layers: int, context: int) -> Mapping[str, Any]:
    return {
        "vocab_size": VOCABULARY_SIZE,
        "n_embd": hidden,
        "n_layer": layers,
        "n_head": 2,
        "n_positions": context,
        "bos_token_id": None,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }


def _gpt_neox(hidden: int, layers: int, context: int) -> Mapping[str, Any]:
    shape = {key: value for key, value in _llama_like(hidden, layers, context).items() if key != "num_key_value_heads"}
    return {**shape, "tie_word_embeddings": False}


def _mistral(hidden: int, layers: int, context: int) -> Mapping[str, Any]:
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": WINDOW}
    return {**_llama_like(hidden, layers, context), **heads}


def _qwen3(hidden: int, layers: int, context: int) -> Mapping[str, Any]:
    """The first layer sees everything, the others a window; heads are normed, and wider than their share of the width."""
    windows = {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}
    return {**_tied(hidden, layers, context), **windows, "head_dim": hidden}


def _gemma(hidden: int, layers: int, context: int) -> Mapping[str, Any]:
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": hidden // 2}
    return {**_tied(hidden, layers, context), **heads}


def _gemma2(hidden: int, layers: int, context: int) -> Mapping[str, Any]:
    """The first layer sees a window, the second everything; caps low enough to bend the logits."""
    caps = {"attn_logit_softcapping": 3.0, "final_logit_softcapping": 4.0, "query_pre_attn_scalar": 8}
    shape = _gemma(hidden, layers, context)
    return {**shape, **caps, "sliding_window": WINDOW, "tie_word_embeddings": False}


def _opt(hidden: int, layers: int, context: int) -> Mapping[str, Any]:
    return {
        "vocab_size": VOCABULARY_SIZE,
        "hidden_size": hidden,
        "word_embed_proj_dim": hidden,
        "ffn_dim": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "max_position_embeddings": context,
        "init_std": SPREAD,
        "bos_token_id": None,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }


ARCHITECTURES: Final = MappingProxyType(
    {
        "qwen2": _tied,
        "llama": _llama_like,
        "gpt2": _gpt2,
        "gpt_neox": _gpt_neox,
        "phi3": _llama_like,
        "mistral": _mistral,
        "qwen3": _qwen3,
        "gemma": _gemma,
        "gemma2": _gemma2,
        "opt": _opt,
    }
)
"""Configuration of each architecture for a width, a depth and a context."""
