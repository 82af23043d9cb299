"""Identity of base models: the complete fingerprint, and the comparison with a typed verdict.

docs/identity.md is the specification. Nothing here imports torch or transformers.
"""

from services.common.identity.cache import DigestCache
from services.common.identity.canonical import canonical_json, digest_of
from services.common.identity.compare import compare
from services.common.identity.explain import explain, mismatch_error
from services.common.identity.fingerprint import SCHEME, BaseFingerprint, FingerprintSummary
from services.common.identity.modules import LinearModule
from services.common.identity.open_base import OpenBase, fingerprint_base, open_base
from services.common.identity.safetensors_header import TensorEntry, parse_header
from services.common.identity.trees import TensorLeaf
from services.common.identity.verdict import Comparison, ComparisonPolicy, Difference, Verdict

__all__ = [
    "SCHEME",
    "BaseFingerprint",
    "Comparison",
    "ComparisonPolicy",
    "Difference",
    "DigestCache",
    "FingerprintSummary",
    "LinearModule",
    "OpenBase",
    "TensorEntry",
    "TensorLeaf",
    "Verdict",
    "canonical_json",
    "compare",
    "digest_of",
    "explain",
    "fingerprint_base",
    "mismatch_error",
    "open_base",
    "parse_header",
]
