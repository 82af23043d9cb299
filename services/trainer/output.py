"""What a recipe has made: an adapter-only PEFT directory, looked at with suspicion before it becomes a version."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rfc8785 import CanonicalizationError

from services.common.errors import DomainError, Reason
from services.common.identity.safetensors_header import PREFIX_BYTES, header_length, parse_header
from services.common.manifest import AdapterManifest, ManifestFile, Provenance
from services.trainer.model import Claim
from services.trainer.recipe.protocol import Finished, ResolvedHyperparameters

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
MAX_CONFIG_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished run.

    Attributes:
        finished: its last event.
        hyperparameters: every choice it made.
    """

    finished: Finished
    hyperparameters: ResolvedHyperparameters


def list_files(directory: Path) -> tuple[ManifestFile, ...]:
    """Describe the two files of an adapter; whatever else lies beside them is not published.

    Raises:
        DomainError: ADAPTER_INVALID or SAFETENSORS_INVALID: a file is missing or is not what its name says.
    """
    for name in (CONFIG, WEIGHTS):
        path = directory / name
        if path.is_symlink() or not path.is_file():
            raise _invalid(f"there is no file {name}")
    _check_config(directory / CONFIG)
    return (_describe(directory / CONFIG, None), _describe(directory / WEIGHTS, _header_sha256(directory / WEIGHTS)))


def make_manifest(claim: Claim, trained: Trained, files: tuple[ManifestFile, ...]) -> AdapterManifest:
    """Say what a version is, and how it came to be.

    Raises:
        DomainError: BASE_FINGERPRINT_MISMATCH: it was trained on another base than the job's. MANIFEST_INVALID: the recipe
            told of itself what no manifest can hold.
    """
    _check_base(claim, trained.finished)
    return _checked(_describe_version(claim, trained, files))


def _describe_version(claim: Claim, trained: Trained, files: tuple[ManifestFile, ...]) -> AdapterManifest:
    finished = trained.finished
    return AdapterManifest(
        files=files,
        base_model=str(claim.job.base_model),
        base=finished.base_summary,
        provenance=Provenance.WITNESSED,
        peft=finished.peft,
        chat_template=finished.chat_template,
        stop_token_ids=finished.stop_token_ids,
        training=_provenance(claim, trained),
        probe=finished.probe,
    )


def _check_base(claim: Claim, finished: Finished) -> None:
    expected, actual = claim.job.base_fingerprint_id, finished.base_summary.get("id")
    if actual != expected:
        raise DomainError(
            Reason.BASE_FINGERPRINT_MISMATCH,
            f"The recipe trained on another base than {claim.job.base_model}, so its adapter is not published. Create the "
            "job again.",
            {"expected_id": expected, "actual_id": str(actual)[:64]},
        )


def _checked(manifest: AdapterManifest) -> AdapterManifest:
    """Read the manifest as everyone else will; the recipe's events are typed no further than JSON."""
    try:
        return AdapterManifest.from_bytes(manifest.to_bytes())
    except (CanonicalizationError, RecursionError) as error:
        text = f"The recipe told of itself what a manifest cannot hold: {error}."
        raise DomainError(Reason.MANIFEST_INVALID, text) from None


def _provenance(claim: Claim, trained: Trained) -> Mapping[str, Any]:
    finished, chosen, validation = trained.finished, trained.hyperparameters, claim.validation_dataset
    return {
        "job": str(claim.job.name),
        "dataset": {"name": str(claim.dataset.name), "sha256": claim.dataset.sha256, "format": claim.dataset.format},
        "validation_dataset": {"name": str(validation.name), "sha256": validation.sha256, "format": validation.format}
        if validation
        else None,
        "hyperparameters": {
            "epochs": chosen.epochs,
            "batch_size": chosen.batch_size,
            "learning_rate": chosen.learning_rate,
            "warmup_ratio": chosen.warmup_ratio,
            "schedule": chosen.schedule.value,
            "lora_rank": chosen.lora_rank,
            "lora_alpha": chosen.lora_alpha,
            "target_modules": list(chosen.target_modules),
            "max_sequence_length": chosen.max_sequence_length,
            "weight_decay": chosen.weight_decay,
        },
        "seed": chosen.seed,
        "steps": finished.steps,
        "trained_tokens": finished.trained_tokens,
        "final_loss": finished.final_loss,
        "validation_loss": finished.validation_loss,
        "library_versions": dict(finished.library_versions),
        "compute": dict(finished.compute),
    }


def _check_config(path: Path) -> None:
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise _invalid(f"{CONFIG} has more than {MAX_CONFIG_BYTES} bytes")
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise _invalid(f"{CONFIG} is not JSON") from None
    if not isinstance(config, dict) or "peft_type" not in config:
        raise _invalid(f"{CONFIG} names no peft_type")


def _describe(path: Path, header_sha256: str | None) -> ManifestFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ManifestFile(path.name, path.stat().st_size, digest, header_sha256)


def _header_sha256(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = header_length(file.read(PREFIX_BYTES), file_size=size, what=path.name)
        header = file.read(length)
    parse_header(header, file_size=size, what=path.name)
    return hashlib.sha256(header).hexdigest()


def _invalid(fault: str) -> DomainError:
    return DomainError(Reason.ADAPTER_INVALID, f"The recipe made no adapter that can be published: {fault}.")
