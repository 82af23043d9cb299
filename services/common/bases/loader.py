"""The one way a base becomes a model: from the open files that were fingerprinted, never through a path.

transformers builds the model and converts tensor names and layouts; what it would silently do beside that is refused:
filling a missing tensor with random numbers, leaving a tensor over, running code or fetching kernels that config.json
names, attaching an adapter that lies beside the base.
"""

import mmap
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING

from services.common.bases.text import BaseText, load_text
from services.common.errors import DomainError, Reason
from services.common.identity import OpenBase
from services.common.identity.config import IGNORED_KEYS, is_config
from services.common.identity.weights import StoredTensor

DTYPES: Final[Mapping[str, torch.dtype]] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Names of safetensors' dtypes."""

DEFAULT_CONTEXT: Final = 2048
"""Context of architectures whose positions have no end (ALiBi) and whose configuration states none."""

KERNEL_KEYS: Final = frozenset({"transformers_weights", "fusion_config", "use_kernels", "kernel_config"})
"""Keys of config.json that make transformers read other files or fetch kernels; IGNORED_KEYS covers the rest."""

_OWN_PAGES: Final = 2**16
"""Bytes; smaller tensors are not worth a mapping."""

_SHOWN: Final = 5

# transformers swaps global functions while it builds a model.
_BUILDING: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class LoadedBase:
    """A base in memory, ready to be trained on or to answer.

    Attributes:
        model: in evaluation mode; its parameters are private copies in ``dtype``.
        tokenizer: exactly the pipeline of tokenizer.json, with the roles of its special tokens.
        config: transformers' configuration.
        context_length: most positions.
        chat_template: Jinja, or None.
        stop_token_ids: tokens that end an answer, in increasing order.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    config: PreTrainedConfig
    context_length: int
    chat_template: str | None
    stop_token_ids: tuple[int, ...]


def load_base(
    opened: OpenBase, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> LoadedBase:
    """Load model and tokenizer. Blocks; not to be called on an event loop.

    Args:
        opened: the base, whose fingerprint the caller has compared.
        dtype: of the parameters that hold weights.
        device: where to.

    Raises:
        DomainError: BASE_NOT_SUPPORTED for an architecture or format that cannot be loaded without remote code;
            BASE_FILES_INCONSISTENT where tensors are missing, left over or of the wrong shape; OUT_OF_MEMORY.
    """
    text: BaseText = load_text(opened)
    model = load_model(opened, dtype=dtype, device=device)
    return LoadedBase(
        model, text.tokenizer, model.config, context_length(model.config), text.chat_template, text.stop_token_ids
    )


def load_model(opened: OpenBase, *, dtype: torch.dtype, device: torch.device | str) -> PreTrainedModel:
    """Load the model alone; arguments and errors as for ``load_base``."""
    config = build_config(opened.config)
    architecture = _classes(MODEL_FOR_CAUSAL_LM_MAPPING, config)[0]
    tensors = {stored.entry.name: _Stored(stored, dtype) for stored in opened.tensors()}
    try:
        with _BUILDING:
            # Typed as the model alone, which it is without output_loading_info.
            loaded: Any = architecture.from_pretrained(
                None,
                config=config,
                state_dict=tensors,
                dtype=dtype,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported instead of raised, and refused below
            )
    except (RuntimeError, MemoryError) as error:
        raise _failed(error) from None
    opened.check_unchanged()
    model: PreTrainedModel = loaded[0]
    _check_complete(loaded[1])
    model.requires_grad_(requires_grad=False)
    model.to(device)  # type: ignore[arg-type]  # the stub of this decorated method takes self for device
    return model


def build_config(document: Mapping[str, Any]) -> PreTrainedConfig:
    """Make transformers' configuration of config.json.

    Raises:
        DomainError: BASE_NOT_SUPPORTED for remote code, quantized weights, or what is no causal language model here.
    """
    if "auto_map" in document:
        raise _not_supported("it needs code of its own (auto_map in config.json), which is never run")
    if document.get("quantization_config") is not None:
        raise _not_supported("its weights are quantized, which this version does not load")
    model_type = str(document.get("model_type"))
    if model_type not in CONFIG_MAPPING:
        raise _not_supported(f"this version's transformers has no model type {model_type!r}")
    try:
        config = CONFIG_MAPPING[model_type].from_dict(_harmless(document))
    except Exception as error:  # noqa: BLE001  # each configuration class validates in its own way
        raise _inconsistent(f"config.json is refused by transformers: {error}") from None
    _check_architecture(document, config)
    return config


def context_length(config: PreTrainedConfig) -> int:
    """Most positions that a model of this configuration has."""
    found = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(found) if found else DEFAULT_CONTEXT


def _harmless(document: Mapping[str, Any]) -> dict[str, Any]:
    """config.json without what only steers how transformers loads and computes it."""
    return {
        key: _harmless(value) if is_config(key, value) else value
        for key, value in document.items()
        if key == "architectures" or (key not in IGNORED_KEYS and key not in KERNEL_KEYS)
    }


def _check_architecture(document: Mapping[str, Any], config: PreTrainedConfig) -> None:
    """The class named must be the one that will be built, or the bare model inside it."""
    causal = _classes(MODEL_FOR_CAUSAL_LM_MAPPING, config)
    if not causal:
        raise _not_supported(f"{config.model_type} has no causal language model")
    named = (document.get("architectures") or ["none"])[0]
    if named not in {known.__name__ for known in (*causal, *_classes(MODEL_MAPPING, config))}:
        wanted = causal[0].__name__
        raise _not_supported(f"its architecture is {named}, and only {wanted} is known for {config.model_type}")


def _classes(mapping: Mapping[type[PreTrainedConfig], Any], config: PreTrainedConfig) -> list[type[PreTrainedModel]]:
    """Some model types have several classes, most one."""
    found = mapping.get(type(config), ())
    return list(found) if isinstance(found, tuple) else [found]


def _check_complete(report: Mapping[str, Iterable[Any]]) -> None:
    """Refuse what transformers has not forgiven: each architecture declares the buffers of older files harmless."""
    if missing := sorted(map(str, report["missing_keys"])):
        raise _inconsistent(f"the architecture needs {len(missing)} tensors that the files lack: {_some(missing)}")
    if left_over := sorted(map(str, report["unexpected_keys"])):
        raise _inconsistent(f"{len(left_over)} tensors of the files belong nowhere: {_some(left_over)}")
    if mismatched := sorted(map(str, report["mismatched_keys"])):
        raise _inconsistent(f"{len(mismatched)} tensors have the wrong shape: {_some(mismatched)}")
    if errors := [str(error) for error in report["error_msgs"]]:
        raise _inconsistent(f"tensors could not be loaded: {_some(errors)}")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


class _Stored:
    """A tensor in an open file; indexing it, as transformers does, reads it."""

    def __init__(self, stored: StoredTensor, wanted: torch.dtype) -> None:
        entry = stored.entry
        if entry.dtype not in DTYPES:
            raise _not_supported(f"the tensor {entry.name} is stored as {entry.dtype}")
        self._stored, self._wanted = stored, wanted

    def __getitem__(self, index: Any) -> torch.Tensor:
        stored, dtype = self._stored, DTYPES[self._stored.entry.dtype]
        passing = dtype is not self._wanted and stored.nbytes >= _OWN_PAGES
        data = _pages(stored.nbytes) if passing else torch.empty(stored.nbytes, dtype=torch.uint8)
        stored.read_into(data.numpy().data)
        return data.view(dtype).reshape(stored.entry.shape)[index]


def _pages(size: int) -> torch.Tensor:
    """Bytes in pages of their own, for what dies as soon as it is converted.

    What malloc gets back it keeps, and between what stays there are holes in which nothing larger fits.
    """
    return torch.frombuffer(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), dtype=torch.uint8)


def _failed(error: Exception) -> DomainError:
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
        return DomainError(
            Reason.OUT_OF_MEMORY,
            "There is not enough memory to load the base. Free some, then try again.",
            retry_after=5.0,
        )
    return _inconsistent(str(error).splitlines()[0] if str(error) else type(error).__name__)


def _not_supported(why: str) -> DomainError:
    return DomainError(Reason.BASE_NOT_SUPPORTED, f"The base cannot be loaded: {why}. Use another base.")


def _inconsistent(why: str) -> DomainError:
    return DomainError(Reason.BASE_FILES_INCONSISTENT, f"The base cannot be loaded: {why}. Download the base again.")
