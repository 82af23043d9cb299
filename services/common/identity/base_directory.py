"""What a base is: which files of a directory belong to it, and what is refused."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from services.common.errors import DomainError, Reason
from services.common.identity.canonical import parse_json
from services.common.identity.files import read_file

__all__ = ["Layout", "check_index", "examine", "read_object"]

CONFIG: Final = "config.json"
SINGLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
ADAPTER_CONFIG: Final = "adapter_config.json"
TOKENIZER: Final = "tokenizer.json"
MIB: Final = 1024 * 1024

LIMITS: Final[Mapping[str, int]] = {
    CONFIG: 4 * MIB,
    INDEX: 64 * MIB,
    TOKENIZER: 64 * MIB,
    "tokenizer_config.json": 16 * MIB,
    "special_tokens_map.json": 4 * MIB,
    "chat_template.jinja": MIB,
    "generation_config.json": MIB,
    "processor_config.json": 4 * MIB,
    "preprocessor_config.json": 4 * MIB,
    "video_preprocessor_config.json": 4 * MIB,
}
"""The documents of a base that are read, each with the most bytes it may have."""

PICKLE_SUFFIXES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
TRAINING_STATE: Final = re.compile(r"(training_args|optimizer|scheduler|scaler|rng_state(_\d+)?)\.(bin|pt|pth)")
"""What a trainer leaves beside the weights. These are no weights, and nothing here opens them."""
SLOW_TOKENIZERS: Final = (
    "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt", "spiece.model",
    "sentencepiece.bpe.model", "tekken.json",
)  # fmt: skip
"""Files of a tokenizer that mean there is one, though not as tokenizer.json."""
MAX_SHARDS: Final = 4096
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.safetensors")


@dataclass(frozen=True, slots=True)
class Layout:
    """What ``examine`` found.

    Attributes:
        directory: absolute.
        documents: name → bytes of every document in ``LIMITS`` that is there (the index is not among them).
        shards: names of the weights files, sorted.
        weight_map: tensor name → shard, or None for a single file.
    """

    directory: Path
    documents: Mapping[str, bytes]
    shards: tuple[str, ...]
    weight_map: Mapping[str, str] | None


def examine(directory: Path) -> Layout:
    """Find the files of a base without opening its weights.

    Raises:
        DomainError: BASE_NOT_A_MODEL, BASE_UNSAFE_FILES, BASE_FILES_INCONSISTENT, LIMIT_EXCEEDED.
    """
    directory = Path(directory).absolute()
    names = _names(directory)
    if CONFIG not in names:
        looks = f", and looks like an adapter: it has {ADAPTER_CONFIG}" if ADAPTER_CONFIG in names else ""
        raise _not_a_model(directory, f"it has no {CONFIG}{looks}")
    _refuse_unsafe(directory, names)
    weight_map = _weight_map(directory, names)
    _check_tokenizer(directory, names)
    documents = {
        name: read_file(directory / name, limit) for name, limit in LIMITS.items() if name in names and name != INDEX
    }
    shards = (SINGLE,) if weight_map is None else tuple(sorted(set(weight_map.values())))
    return Layout(directory, documents, shards, weight_map)


def _names(directory: Path) -> set[str]:
    try:
        return {entry.name for entry in directory.iterdir()}
    except OSError as error:
        raise _not_a_model(directory, f"it cannot be listed: {error.strerror}") from None


def _refuse_unsafe(directory: Path, names: Iterable[str]) -> None:
    if ADAPTER_CONFIG in names:
        raise DomainError(
            Reason.BASE_UNSAFE_FILES,
            f"{directory} holds {ADAPTER_CONFIG} beside the base: transformers would attach that adapter silently. "
            "Keep adapters in a directory of their own.",
            {"file": ADAPTER_CONFIG},
        )
    pickles = sorted(name for name in names if name.endswith(PICKLE_SUFFIXES) and not TRAINING_STATE.fullmatch(name))
    if pickles:
        raise DomainError(
            Reason.BASE_UNSAFE_FILES,
            f"{directory} holds pickle weights ({', '.join(pickles[:3])}), which can run code when they are loaded. "
            "Convert them to safetensors and remove them.",
            {"file": pickles[0]},
        )


def _weight_map(directory: Path, names: Iterable[str]) -> dict[str, str] | None:
    if SINGLE in names and INDEX in names:
        raise DomainError(
            Reason.BASE_FILES_INCONSISTENT,
            f"{directory} has both {SINGLE} and {INDEX}, and nobody can tell which are the weights. Remove one.",
        )
    if SINGLE in names:
        return None
    if INDEX not in names:
        raise _not_a_model(directory, f"it has neither {SINGLE} nor {INDEX}")
    index = read_object(read_file(directory / INDEX, LIMITS[INDEX]), INDEX)
    weight_map = _checked_map(index.get("weight_map"))
    if absent := sorted(set(weight_map.values()) - set(names)):
        raise _inconsistent(f"{INDEX} names {absent[0]}, which is not there")
    return weight_map


def _checked_map(weight_map: Any) -> dict[str, str]:
    if not isinstance(weight_map, dict) or not weight_map:
        raise _inconsistent(f"{INDEX} has no weight_map")
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str) or not _PLAIN_NAME.fullmatch(shard):
            raise _inconsistent(
                f"{INDEX} places {tensor[:80]!r} in {str(shard)[:80]!r}, which is no plain name of a .safetensors file"
            )
    if len(set(weight_map.values())) > MAX_SHARDS:
        raise DomainError(Reason.LIMIT_EXCEEDED, f"{INDEX} names more than {MAX_SHARDS} files.")
    return weight_map


def _check_tokenizer(directory: Path, names: Iterable[str]) -> None:
    others = [name for name in SLOW_TOKENIZERS if name in names]
    if TOKENIZER not in names and others:
        raise _not_a_model(directory, f"its tokenizer has no {TOKENIZER}, only {', '.join(others)}; convert it once")


def check_index(weight_map: Mapping[str, str], shard: str, tensors: Iterable[str]) -> None:
    """Hold the tensors of one shard against what the index says of it.

    Raises:
        DomainError: BASE_FILES_INCONSISTENT, naming the first tensor at fault.
    """
    found = set(tensors)
    announced = {tensor for tensor, place in weight_map.items() if place == shard}
    if missing := sorted(announced - found):
        raise _inconsistent(f"{INDEX} places {missing[0][:80]!r} in {shard}, which does not hold it")
    if extra := sorted(found - announced):
        raise _inconsistent(f"{shard} holds {extra[0][:80]!r}, which {INDEX} does not place there")


def read_object(data: bytes, name: str) -> dict[str, Any]:
    """A document of a base that must be a JSON object.

    Raises:
        DomainError: BASE_NOT_A_MODEL, LIMIT_EXCEEDED.
    """
    value = parse_json(data, what=name, limit=LIMITS[name], reason=Reason.BASE_NOT_A_MODEL)
    if not isinstance(value, dict):
        raise DomainError(Reason.BASE_NOT_A_MODEL, f"{name} is not a JSON object. Restore the file.")
    return value


def _not_a_model(directory: Path, fault: str) -> DomainError:
    return DomainError(
        Reason.BASE_NOT_A_MODEL,
        f"{directory} is not a base model: {fault}. Give a directory with config.json, tokenizer.json and "
        "model.safetensors (or its shards and their index).",
    )


def _inconsistent(fault: str) -> DomainError:
    return DomainError(Reason.BASE_FILES_INCONSISTENT, f"{fault}. Download the base again.")
