"""Comparison of the base an adapter was trained on with the base at hand."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from services.common.identity.canonical import canonical_json
from services.common.identity.fingerprint import BaseFingerprint, FingerprintSummary
from services.common.identity.trees import TensorLeaf
from services.common.identity.verdict import Comparison, ComparisonPolicy, Difference, Verdict

__all__ = ["compare"]

MOST_OF_A_KIND: Final = 16
SHORT: Final = 12
EXACTLY: Final = ComparisonPolicy()
DERIVABLE: Final = frozenset({Verdict.STRUCTURE_DIFFERS, Verdict.CONFIG_DIFFERS, Verdict.WEIGHTS_DIFFER})
"""What a declared derivative may differ in: another number format or spelling of the same model. Another class, code,
tower, processor or tokenizer is another base, and no probe over token ids would notice the last."""


def compare(
    expected: FingerprintSummary, actual: FingerprintSummary, *, policy: ComparisonPolicy = EXACTLY
) -> Comparison:
    """Say whether ``actual`` is the base ``expected`` names.

    Args:
        expected: of the base the adapter was trained on; a summary names fewer details.
        actual: of the base at hand, computed from its bytes.
        policy: what may pass beside an exact match.
    """
    if expected.id == actual.id:
        return Comparison(Verdict.EXACT, (), "The base is the one the adapter was trained on.", expected.id, actual.id)
    found = tuple(_differences(expected, actual)) or (_unnamed(expected, actual),)
    kinds = {difference.kind for difference in found}
    if policy.allow_derivatives and expected.root == actual.root and kinds <= DERIVABLE:
        verdict = Verdict.DERIVATIVE
    else:
        verdict = min(kinds, key=list(Verdict).index)
    return Comparison(verdict, found, _sentence(verdict, found, expected, actual), expected.id, actual.id)


def _differences(expected: FingerprintSummary, actual: FingerprintSummary) -> Iterator[Difference]:
    yield from _field(Verdict.ARCHITECTURE_DIFFERS, "architecture", expected, actual)
    yield from _digest(Verdict.CODE_DIFFERS, "code", expected.code_digest, actual.code_digest)
    yield from _missing_components(expected, actual)
    yield from _cut(_structure(expected, actual), Verdict.STRUCTURE_DIFFERS, "tensors")
    yield from _cut(_config(expected, actual), Verdict.CONFIG_DIFFERS, "keys")
    yield from _digest(Verdict.PROCESSOR_DIFFERS, "processor", expected.processor_digest, actual.processor_digest)
    yield from _digest(Verdict.TOKENIZER_DIFFERS, "tokenizer", expected.tokenizer_digest, actual.tokenizer_digest)
    yield from _cut(_weights(expected, actual), Verdict.WEIGHTS_DIFFER, "tensors")


def _unnamed(expected: FingerprintSummary, actual: FingerprintSummary) -> Difference:
    """The ids differ, and so must something; a summary need not say what."""
    return Difference(Verdict.WEIGHTS_DIFFER, "fingerprint", _short(expected.id), _short(actual.id))


def _cut(found: Iterator[Difference], kind: Verdict, what: str) -> Iterator[Difference]:
    yield from islice(found, MOST_OF_A_KIND)
    if more := sum(1 for _ in found):
        yield Difference(kind, f"{more} more {what}", None, None)


def _field(kind: Verdict, name: str, expected: FingerprintSummary, actual: FingerprintSummary) -> Iterator[Difference]:
    ours, theirs = getattr(expected, name), getattr(actual, name)
    if ours != theirs:
        yield Difference(kind, name, ours, theirs)


def _digest(kind: Verdict, subject: str, expected: str | None, actual: str | None) -> Iterator[Difference]:
    if expected != actual:
        yield Difference(kind, subject, _short(expected), _short(actual))


def _short(digest: str | None) -> str | None:
    return None if digest is None else digest[:SHORT]


def _missing_components(expected: FingerprintSummary, actual: FingerprintSummary) -> Iterator[Difference]:
    ours, theirs = expected.component_roots, actual.component_roots
    for name in sorted(ours.keys() ^ theirs.keys()):
        yield Difference(Verdict.COMPONENT_MISSING, name, _short(ours.get(name)), _short(theirs.get(name)))


def _structure(expected: FingerprintSummary, actual: FingerprintSummary) -> Iterator[Difference]:
    if expected.structure_root == actual.structure_root:
        return
    if not isinstance(expected, BaseFingerprint) or not isinstance(actual, BaseFingerprint):
        yield from _digest(Verdict.STRUCTURE_DIFFERS, "structure", expected.structure_root, actual.structure_root)
        return
    ours, theirs = _by_name(expected), _by_name(actual)
    for name in sorted(ours.keys() | theirs.keys(), key=str.encode):
        left, right = _described(ours.get(name)), _described(theirs.get(name))
        if left != right:
            yield Difference(Verdict.STRUCTURE_DIFFERS, name, left, right)


def _by_name(fingerprint: BaseFingerprint) -> dict[str, TensorLeaf]:
    return {leaf.name: leaf for leaf in fingerprint.tensors}


def _described(leaf: TensorLeaf | None) -> str | None:
    return None if leaf is None else leaf.describe()


def _config(expected: FingerprintSummary, actual: FingerprintSummary) -> Iterator[Difference]:
    if expected.config_digest != actual.config_digest:
        if expected.config is not None and actual.config is not None:
            yield from _keys("", expected.config, actual.config)
        else:
            yield from _digest(Verdict.CONFIG_DIFFERS, "config.json", expected.config_digest, actual.config_digest)
    yield from _keys("", _stated(expected), _stated(actual))


def _stated(fingerprint: FingerprintSummary) -> Mapping[str, Any]:
    return {} if fingerprint.quantization is None else {"quantization": fingerprint.quantization}


def _keys(path: str, expected: Mapping[str, Any], actual: Mapping[str, Any]) -> Iterator[Difference]:
    for key in sorted(expected.keys() | actual.keys()):
        ours, theirs = expected.get(key), actual.get(key)
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
            yield from _keys(f"{path}{key}.", ours, theirs)
        elif _value(expected, key) != _value(actual, key):
            yield Difference(Verdict.CONFIG_DIFFERS, path + key, _value(expected, key), _value(actual, key))


def _value(config: Mapping[str, Any], key: str) -> str | None:
    """As canonical JSON, so that 1 and 1.0 are equal here as they are in the digest, and null is not absent."""
    return canonical_json(config[key]).decode() if key in config else None


def _weights(expected: FingerprintSummary, actual: FingerprintSummary) -> Iterator[Difference]:
    """Contents, where the structure is the same: otherwise the shapes say enough."""
    if expected.structure_root != actual.structure_root or expected.weights_root == actual.weights_root:
        return
    if isinstance(expected, BaseFingerprint) and isinstance(actual, BaseFingerprint):
        ours = _by_name(expected)
        for leaf in actual.tensors:
            yield from _digest(Verdict.WEIGHTS_DIFFER, leaf.name, ours[leaf.name].content, leaf.content)
        return
    for name, root in expected.component_roots.items():
        yield from _digest(Verdict.WEIGHTS_DIFFER, name, root, actual.component_roots.get(name))


def _sentence(
    verdict: Verdict, found: tuple[Difference, ...], expected: FingerprintSummary, actual: FingerprintSummary
) -> str:
    ours, theirs = _name(expected), _name(actual)
    if verdict is Verdict.DERIVATIVE:
        return f"The base {theirs} is declared a derivative of the adapter's base {ours}; a probe must confirm it."
    first = next(difference for difference in found if difference.kind is verdict)
    return (
        f"The adapter was trained on {ours}, but this base is {theirs}: {verdict.lower().replace('_', ' ')} "
        f"({first.subject}: {first.expected or 'none'} there, {first.actual or 'none'} here). "
        "Use the base it was trained on, or train it again on this one."
    )


def _name(fingerprint: FingerprintSummary) -> str:
    return f"{fingerprint.architecture} {fingerprint.id[:SHORT]}"
