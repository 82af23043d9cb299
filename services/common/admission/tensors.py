"""An adapter's tensors held against its configuration and its base: nothing left over, nothing missing, every shape exact.

Names and shapes after ``LoraModel`` and ``get_peft_model_state_dict`` of PEFT 0.21.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from services.common.admission.model import AdapterConfig
from services.common.admission.plan import AdapterPlan, PlannedCopy, PlannedLayer, PlannedReplacement
from services.common.admission.refusals import WEIGHTS_FILE, config_invalid, not_supported, some
from services.common.admission.targets import OUTPUTS, Matcher
from services.common.errors import DomainError, Reason
from services.common.identity import LinearModule, TensorEntry

__all__ = ["WEIGHT_DTYPES", "AdapterPlan", "PlannedCopy", "PlannedLayer", "PlannedReplacement", "plan_adapter"]

WEIGHT_DTYPES: Final = ("BF16", "F16", "F32")
SERVED_KINDS: Final = frozenset({"Linear", "Conv1D", "Embedding"})
PREFIX: Final = "base_model.model."
"""What PEFT puts before the name of every module."""


class Part(StrEnum):
    """What a tensor is to its module, as the end of its name says."""

    A = "lora_A.weight"
    B = "lora_B.weight"
    BIAS = "lora_B.bias"
    EMBEDDING_A = "lora_embedding_A"
    EMBEDDING_B = "lora_embedding_B"
    MAGNITUDE = "lora_magnitude_vector"
    BASE_WEIGHT = "base_layer.weight"
    ORIGINAL_WEIGHT = "original_module.weight"
    SAVED_AGAIN = "modules_to_save.weight"
    MODULE_WEIGHT = "weight"
    MODULE_BIAS = "bias"


LORA_PARTS: Final = frozenset({Part.A, Part.B, Part.BIAS, Part.EMBEDDING_A, Part.EMBEDDING_B, Part.MAGNITUDE})
Parts = Mapping[Part, TensorEntry]

_NAME: Final = re.compile(rf"{re.escape(PREFIX)}(?P<module>.+?)\.(?P<part>{'|'.join(map(re.escape, Part))})", re.DOTALL)
_INNER: Final = re.compile(r"(^|\.)(lora_\w+|base_layer|original_module|modules_to_save|token_adapter)(\.|$)")
"""Names of PEFT's own inside a module's name: then its end was not what it seems."""


def plan_adapter(
    config: AdapterConfig,
    entries: Iterable[TensorEntry],
    modules: Sequence[LinearModule],
    *,
    biased: Collection[str] | None = None,
) -> AdapterPlan:
    """Say what every tensor of an adapter is for.

    Args:
        config: of the adapter.
        entries: its tensors, from the header.
        modules: of the base (``BaseFingerprint.modules``).
        biased: the modules of the base that have a bias (``biased_modules``), where that is known.

    Raises:
        DomainError: ADAPTER_TENSOR_UNKNOWN, ADAPTER_DTYPE_NOT_SUPPORTED, ADAPTER_MODULE_NOT_FOUND,
            ADAPTER_NOT_SUPPORTED, ADAPTER_CONFIG_INVALID, ADAPTER_TENSOR_MISSING, ADAPTER_TENSOR_UNEXPECTED,
            ADAPTER_SHAPE_MISMATCH; LIMIT_EXCEEDED where matching its expressions would take too long.
    """
    found = _by_module(entries)
    known = {module.name: module for module in modules}
    matcher = Matcher(config, known)
    _check_modules(matcher, found, known)
    planner = _Planner(
        config=config,
        matcher=matcher,
        found=found,
        known=known,
        targeted=frozenset(name for name, module in known.items() if matcher.targets(module)),
        replaced=frozenset(name for name in known if matcher.replaces(name)),
        biased=biased,
    )
    return planner.plan()


def _by_module(entries: Iterable[TensorEntry]) -> dict[str, dict[Part, TensorEntry]]:
    """Sort tensors by module and part."""
    found: dict[str, dict[Part, TensorEntry]] = {}
    unknown, foreign = [], []
    for entry in entries:
        match = _NAME.fullmatch(entry.name)
        if match is None or _INNER.search(match["module"]):
            unknown.append(entry.name)
            continue
        found.setdefault(match["module"], {})[Part(match["part"])] = entry
        if entry.dtype not in WEIGHT_DTYPES:
            foreign.append(f"{entry.name} as {entry.dtype}")
    if unknown:
        raise _error(
            Reason.ADAPTER_TENSOR_UNKNOWN,
            f"{WEIGHTS_FILE} holds {some(unknown)}, which no LoRA adapter of PEFT has: names begin with {PREFIX} and end "
            "with lora_A.weight, lora_B.weight and the like. Save the adapter again with PEFT",
        )
    if foreign:
        raise _error(
            Reason.ADAPTER_DTYPE_NOT_SUPPORTED,
            f"{WEIGHTS_FILE} stores {some(foreign)}; {', '.join(WEIGHT_DTYPES)} are served. Save it in one of these",
        )
    return found


def _check_modules(matcher: Matcher, found: Iterable[str], known: Mapping[str, LinearModule]) -> None:
    """Every module that tensors or configuration name must be there."""
    strange = sorted(set(found) - known.keys())
    if experts := [name for name in strange if ".experts." in name]:
        raise _experts(experts)
    if saved := [name for name in strange if matcher.replaces(name)]:
        raise not_supported(
            "modules_to_save",
            f"The adapter replaces {some(saved)} (modules_to_save). Only linear and embedding modules can be replaced "
            "here; train it without.",
        )
    if strange:
        raise _error(
            Reason.ADAPTER_MODULE_NOT_FOUND,
            f"{WEIGHTS_FILE} has tensors for {some(strange)}, and the base has no linear or embedding module of that "
            "name. Use the base the adapter was trained on",
        )
    if absent := matcher.without_module(tuple(known)):
        raise _error(
            Reason.ADAPTER_MODULE_NOT_FOUND,
            f"adapter_config.json names {some(absent)}, and the base has no linear or embedding module of that name. "
            "Use the base the adapter was trained on",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planner:
    """All that is known, while the plan is made."""

    config: AdapterConfig
    matcher: Matcher
    found: Mapping[str, Parts]
    known: Mapping[str, LinearModule]
    targeted: frozenset[str]
    replaced: frozenset[str]
    biased: Collection[str] | None

    def plan(self) -> AdapterPlan:
        self._check_kinds()
        copies = tuple(self._copies())
        self._check_presence()
        return AdapterPlan(
            layers=tuple(self._layer(name) for name in sorted(self.targeted)),
            replacements=tuple(self._replacement(name) for name in sorted(self.replaced)),
            copies=copies,
        )

    def _check_kinds(self) -> None:
        """What is declared must be something that can be served."""
        if not self.targeted:
            raise _error(
                Reason.ADAPTER_MODULE_NOT_FOUND,
                "adapter_config.json targets no module of the base. Use the base the adapter was trained on",
            )
        if both := sorted(self.targeted & self.replaced):
            raise config_invalid(f"it both targets and replaces {some(both)}")
        touched = sorted(self.targeted | self.replaced | self.found.keys())
        if served := [name for name in touched if self.known[name].kind not in SERVED_KINDS]:
            raise _unserved({self.known[name].kind for name in served}, served)
        for option in ("use_dora", "lora_bias"):
            embeddings = [name for name in sorted(self.targeted) if self.known[name].kind == "Embedding"]
            if embeddings and getattr(self.config, option):
                raise not_supported(
                    option, f"The adapter sets {option} on the embedding {some(embeddings)}; it is served on linear "
                    "modules alone. Train it without."
                )  # fmt: skip

    def _copies(self) -> Iterator[PlannedCopy]:
        """Embedding and output matrices that PEFT saved without being told to train them."""
        for name, parts in sorted(self.found.items()):
            self._check_rows(name, parts)
            for part in self._copied_parts(name):
                if part in parts:
                    _check_shape(parts[part], _weight_shape(self.known[name]))
                    yield PlannedCopy(name, parts[part])

    def _copied_parts(self, name: str) -> tuple[Part, ...]:
        if not _has_rows(self.known[name]):
            return ()
        return (Part.ORIGINAL_WEIGHT,) if name in self.replaced else (Part.BASE_WEIGHT, Part.MODULE_WEIGHT)

    def _check_rows(self, name: str, parts: Parts) -> None:
        """Other rows than the base's are added tokens, and have a reason of their own."""
        module = self.known[name]
        if not _has_rows(module):
            return
        rows, width = _weight_shape(module)
        for part, entry in parts.items():
            turned = part is Part.EMBEDDING_A
            found = entry.shape[::-1] if turned else entry.shape
            if part in LORA_PARTS and not turned:
                continue
            if len(found) == 2 and found[0] != rows and (turned or found[1] == width):
                raise not_supported(
                    "resized embeddings",
                    f"The adapter was trained with a resized embedding: {name} has {found[0]} rows in {WEIGHTS_FILE} and "
                    f"{rows} in the base. Added tokens are not served; train it without, or add the resized base as a "
                    "base of its own.",
                )

    def _check_presence(self) -> None:
        """Every tensor that the configuration asks for, and no other."""
        wanted = {(name, part) for name in self.targeted for part in self._parts_of_layer(name)}
        wanted |= {(name, part) for name in self.replaced for part in self._parts_of_replacement(name)}
        present = {(name, part) for name, parts in self.found.items() for part in parts}
        passed = {(name, part) for name in self.found for part in self._copied_parts(name)}
        if missing := _names(wanted - present):
            raise _error(
                Reason.ADAPTER_TENSOR_MISSING,
                f"{WEIGHTS_FILE} lacks {some(missing)}, for which adapter_config.json asks. The file is incomplete, or the "
                "configuration belongs to another adapter; get both again",
            )
        if extra := _names(present - wanted - passed):
            raise _error(
                Reason.ADAPTER_TENSOR_UNEXPECTED,
                f"{WEIGHTS_FILE} holds {some(extra)}, for which adapter_config.json does not ask. The configuration "
                "belongs to another adapter; get both again",
            )

    def _parts_of_layer(self, name: str) -> Iterator[Part]:
        if self.known[name].kind == "Embedding":
            yield from (Part.EMBEDDING_A, Part.EMBEDDING_B)
            return
        yield from (Part.A, Part.B)
        if self.config.use_dora:
            yield Part.MAGNITUDE
        if self.config.lora_bias:
            yield Part.BIAS

    def _parts_of_replacement(self, name: str) -> Iterator[Part]:
        yield Part.MODULE_WEIGHT
        has_bias = Part.MODULE_BIAS in self.found.get(name, {}) if self.biased is None else name in self.biased
        if has_bias:
            yield Part.MODULE_BIAS

    def _layer(self, name: str) -> PlannedLayer:
        module, parts, rank = self.known[name], self.found[name], self.matcher.rank(name)
        embedding = module.kind == "Embedding"
        layer = PlannedLayer(
            module=name,
            kind=module.kind,
            a=parts[Part.EMBEDDING_A if embedding else Part.A],
            b=parts[Part.EMBEDDING_B if embedding else Part.B],
            scaling=self.matcher.scaling(name),
            magnitude=parts.get(Part.MAGNITUDE),
            bias=parts.get(Part.BIAS),
        )
        _check_shape(layer.a, (rank, module.in_features))
        _check_shape(layer.b, (module.out_features, rank))
        for vector in (layer.magnitude, layer.bias):
            if vector is not None:
                _check_shape(vector, (module.out_features,))
        return layer

    def _replacement(self, name: str) -> PlannedReplacement:
        module, parts = self.known[name], self.found[name]
        replacement = PlannedReplacement(name, module.kind, parts[Part.MODULE_WEIGHT], parts.get(Part.MODULE_BIAS))
        _check_shape(replacement.weight, _weight_shape(module))
        if replacement.bias is not None:
            _check_shape(replacement.bias, (module.out_features,))
        return replacement


def _has_rows(module: LinearModule) -> bool:
    """Whether a module has a row for each token: PEFT saves these when the vocabulary may have grown."""
    return module.kind == "Embedding" or module.name.rpartition(".")[2] in OUTPUTS


def _weight_shape(module: LinearModule) -> tuple[int, int]:
    """The shape in which the base stores a module's weight."""
    if module.kind == "Linear":
        return module.out_features, module.in_features
    return module.in_features, module.out_features


def _check_shape(entry: TensorEntry, shape: tuple[int, ...]) -> None:
    if entry.shape != shape:
        raise DomainError(
            Reason.ADAPTER_SHAPE_MISMATCH,
            f"{some([entry.name])} has the shape {list(entry.shape)}; the base and adapter_config.json ask for "
            f"{list(shape)}. Use the base the adapter was trained on, with the adapter's own configuration.",
            {"tensor": some([entry.name]), "expected": str(list(shape)), "actual": str(list(entry.shape))},
        )


def _names(parts: Iterable[tuple[str, Part]]) -> list[str]:
    return sorted(f"{name}.{part}" for name, part in parts)


def _unserved(kinds: Collection[str], names: Sequence[str]) -> DomainError:
    if "Packed" not in kinds:
        return _experts(names)
    return not_supported(
        "packed weights",
        f"The adapter changes {some(names)}, which the base stores in 4 bits of a form that does not tell its sizes. Use the "
        "base in the form it had before it was quantized.",
    )


def _experts(names: Sequence[str]) -> DomainError:
    return not_supported(
        "experts",
        f"The adapter changes {some(names)}: experts and routers are not served. Train it on the attention alone.",
    )


def _error(reason: Reason, sentence: str) -> DomainError:
    return DomainError(reason, f"{sentence}.")
