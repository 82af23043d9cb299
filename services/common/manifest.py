"""The manifest of an adapter version, scheme ``tenon.adapter/1`` (docs/manifest.md).

Canonical JSON (RFC 8785). Its SHA-256 is the version's name, so a manifest can never change behind its name.
"""

import enum
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import rfc8785

from services.common.errors import DomainError, Reason
from services.common.identity.canonical import parse_json
from services.common.probe import Probe
from services.common.training_report import TrainingReport, report_of

SCHEME: Final = "tenon.adapter/1"
MAX_MANIFEST_BYTES: Final = 1024 * 1024
MAX_FILES: Final = 256

_PATH: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LONGEST_SHOWN: Final = 200
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_BASE_MODEL: Final = re.compile(r"baseModels/[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_KEYS: Final = frozenset(
    [
        "base",
        "base_model",
        "chat_template",
        "files",
        "peft",
        "probe",
        "provenance",
        "scheme",
        "stop_token_ids",
        "training",
    ]
)


class Provenance(enum.StrEnum):
    """Who vouches that an adapter was trained on the base its manifest names."""

    WITNESSED = "witnessed"
    """Tenon trained it, and fingerprinted the base it trained on."""
    DECLARED = "declared"
    """Somebody says so of an adapter trained elsewhere, and signs for it."""


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A file of the PEFT directory.

    Attributes:
        path: its name within the directory; no separators.
        size: bytes.
        sha256: of its bytes; also its name in the artifact store.
        header_sha256: of a safetensors file's header (length field excluded), so that the header can be checked by a
            range read before the rest is fetched; None for other files.
    """

    path: str
    size: int
    sha256: str
    header_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class AdapterManifest:
    """What an adapter version is: its files, its base, and how it came to be.

    Attributes:
        files: in order of their paths.
        base_model: the name its base was registered under at training time.
        base: that base's fingerprint without tensors (``BaseFingerprint.summary()``); this decides, not the name.
        provenance: who vouches for ``base``.
        peft: adapter_config.json's settings that matter to a reader: peft_type, r, lora_alpha, target_modules.
        chat_template: the template it was trained with, or None.
        stop_token_ids: tokens that end its turn.
        training: job, dataset digest, hyperparameters, seed, steps, library versions, compute, whether it was forced and
            what spoke against it, the training report; empty if declared.
        probe: what base and adapter answered when training ended; None if nobody asked them.
    """

    files: tuple[ManifestFile, ...]
    base_model: str
    base: Mapping[str, Any]
    provenance: Provenance
    peft: Mapping[str, Any]
    chat_template: str | None
    stop_token_ids: tuple[int, ...]
    training: Mapping[str, Any]
    probe: Probe | None = None

    def to_bytes(self) -> bytes:
        """The manifest's canonical JSON."""
        files: list[dict[str, Any]] = [
            {"path": f.path, "size": f.size, "sha256": f.sha256}
            | ({"header_sha256": f.header_sha256} if f.header_sha256 else {})
            for f in sorted(self.files, key=lambda f: f.path)
        ]
        return rfc8785.dumps(
            {
                "scheme": SCHEME,
                "files": files,
                "base_model": self.base_model,
                "base": dict(self.base),
                "provenance": self.provenance.value,
                "peft": dict(self.peft),
                "chat_template": self.chat_template,
                "stop_token_ids": list(self.stop_token_ids),
                "training": dict(self.training),
                "probe": None if self.probe is None else self.probe.to_json(),
            }
        )

    @property
    def digest(self) -> str:
        """SHA-256 of ``to_bytes()``: the version's name."""
        return manifest_digest(self.to_bytes())

    @property
    def base_fingerprint_id(self) -> str:
        """The fingerprint id of the base it was trained on."""
        return str(self.base["id"])

    @property
    def report(self) -> TrainingReport | None:
        """What its training has taught; None if it is declared, or from before there were reports."""
        return report_of(self.training)

    def file(self, path: str) -> ManifestFile | None:
        """The file of that name, if the manifest lists it."""
        return next((file for file in self.files if file.path == path), None)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a manifest.

        Raises:
            DomainError: MANIFEST_INVALID if it is too large, not canonical JSON, or against the scheme.
        """
        document = _parse_canonical(data)
        _require(document.get("scheme") == SCHEME, f"its scheme is {_shown(document.get('scheme'))}, not {SCHEME!r}")
        _require(set(document) == _KEYS, f"its keys are {_shown(sorted(document))}, not {sorted(_KEYS)}")
        manifest = cls(
            files=_parse_files(document["files"]),
            base_model=_parse_base_model(document["base_model"]),
            base=_parse_base(document["base"]),
            provenance=_parse_provenance(document["provenance"]),
            peft=_parse_mapping(document["peft"], "peft"),
            chat_template=_parse_template(document["chat_template"]),
            stop_token_ids=_parse_token_ids(document["stop_token_ids"]),
            training=_parse_mapping(document["training"], "training"),
            probe=_parse_probe(document["probe"]),
        )
        report_of(manifest.training)
        _require(manifest.to_bytes() == data, "it is not canonical: files are listed by path, keys are those known")
        return manifest


def is_file_name(name: str) -> bool:
    """Whether a file of an adapter may have that name: a plain one, which leads nowhere else."""
    return bool(_PATH.fullmatch(name))


def manifest_digest(data: bytes) -> str:
    """The name of the version that a manifest's bytes describe."""
    return hashlib.sha256(data).hexdigest()


def _shown(value: object) -> str:
    """A value from outside, short enough for a sentence."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _require(condition: bool, fault: str) -> None:
    if not condition:
        raise DomainError(Reason.MANIFEST_INVALID, f"The manifest cannot be used: {fault}.")


def _parse_canonical(data: bytes) -> dict[str, Any]:
    _require(len(data) <= MAX_MANIFEST_BYTES, f"it has {len(data)} bytes; {MAX_MANIFEST_BYTES} are allowed")
    document = parse_json(data, what="The manifest", limit=MAX_MANIFEST_BYTES, reason=Reason.MANIFEST_INVALID)
    try:
        canonical = rfc8785.dumps(document)
    except rfc8785.CanonicalizationError:
        raise DomainError(
            Reason.MANIFEST_INVALID, "The manifest cannot be used: it holds a number that has no canonical form."
        ) from None
    _require(isinstance(document, dict), "it is not a JSON object")
    _require(canonical == data, "it is not canonical JSON (RFC 8785), so its digest would not be its name")
    result: dict[str, Any] = document
    return result


def _parse_files(value: object) -> tuple[ManifestFile, ...]:
    items = value if isinstance(value, list) else []
    _require(0 < len(items) <= MAX_FILES, f"files must list 1 to {MAX_FILES} files")
    files = tuple(_parse_file(item) for item in items)
    _require(len({file.path for file in files}) == len(files), "a file is listed twice")
    return files


def _parse_file(value: object) -> ManifestFile:
    item = _parse_mapping(value, "files")
    _require(set(item) - {"header_sha256"} == {"path", "size", "sha256"}, "a file needs path, size and sha256")
    path, size, sha256, header = item["path"], item["size"], item["sha256"], item.get("header_sha256")
    _require(isinstance(path, str) and is_file_name(path), f"{_shown(path)} is not a plain file name")
    _require(
        isinstance(size, int) and not isinstance(size, bool) and size >= 0, f"the size of {path} is {_shown(size)}"
    )
    _require(_is_digest(sha256), f"the sha256 of {path} is not 64 lower-case hex digits")
    _require("header_sha256" not in item or _is_digest(header), f"the header_sha256 of {path} is not a digest")
    return ManifestFile(path, size, sha256, header)


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and bool(_DIGEST.fullmatch(value))


def _parse_base_model(value: object) -> str:
    _require(isinstance(value, str) and bool(_BASE_MODEL.fullmatch(value)), f"base_model is {_shown(value)}")
    return str(value)


def _parse_base(value: object) -> dict[str, Any]:
    base = _parse_mapping(value, "base")
    _require(_is_digest(base.get("id")), "base.id is not a fingerprint id")
    return base


def _parse_provenance(value: object) -> Provenance:
    _require(
        isinstance(value, str) and value in set(Provenance),
        f"provenance is {_shown(value)}, not {' or '.join(Provenance)}",
    )
    return Provenance(str(value))


def _parse_probe(value: object) -> Probe | None:
    if value is None:
        return None
    try:
        return Probe.from_json(_parse_mapping(value, "probe"))
    except ValueError as error:
        raise DomainError(Reason.MANIFEST_INVALID, f"The manifest cannot be used: in its probe, {error}.") from None


def _parse_mapping(value: object, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DomainError(Reason.MANIFEST_INVALID, f"The manifest cannot be used: {field} is not an object.")
    return value


def _parse_template(value: object) -> str | None:
    _require(value is None or isinstance(value, str), "chat_template is neither text nor null")
    return None if value is None else str(value)


def _parse_token_ids(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(item) is int and item >= 0 for item in value):
        raise DomainError(Reason.MANIFEST_INVALID, "The manifest cannot be used: stop_token_ids are not token ids.")
    return tuple(value)
