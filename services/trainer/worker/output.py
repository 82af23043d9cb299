"""What a recipe has made: an adapter-only PEFT directory, looked at with suspicion before it becomes a version."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfc8785 import CanonicalizationError

from services.common.admission.config import parse_config
from services.common.admission.directory import CONFIG_FILE, read_file
from services.common.admission.listed import list_files
from services.common.errors import DomainError, Reason
from services.common.manifest import AdapterManifest, ManifestFile, Provenance
from services.trainer.model import Claim
from services.trainer.recipe.protocol import Finding, Finished, ResolvedHyperparameters
from services.trainer.support.places import without_place


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished run.

    Attributes:
        finished: its last event.
        hyperparameters: every choice it made.
        hopeless: findings for which it had to be forced.
    """

    finished: Finished
    hyperparameters: ResolvedHyperparameters
    hopeless: tuple[Finding, ...] = ()


def list_output(directory: Path) -> tuple[ManifestFile, ...]:
    """Describe the two files of an adapter; whatever else lies beside them is not published.

    Raises:
        DomainError: ADAPTER_FILES_MISSING, ADAPTER_UNSAFE_FILES, SAFETENSORS_INVALID, ADAPTER_CONFIG_INVALID,
            ADAPTER_NOT_SUPPORTED, LIMIT_EXCEEDED: a file is missing or is not what its name says.
    """
    with without_place(directory, "What the recipe made"):
        files = list_files(directory)
        parse_config(read_file(directory, CONFIG_FILE) or b"")
    return files


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
            "max_gradient_norm": chosen.max_gradient_norm,
            "early_stopping_patience": chosen.early_stopping_patience,
            "use_rslora": chosen.use_rslora,
            "use_dora": chosen.use_dora,
            "rank_pattern": dict(chosen.rank_pattern),
            "alpha_pattern": dict(chosen.alpha_pattern),
            "modules_to_save": list(chosen.modules_to_save),
        },
        "seed": chosen.seed,
        "steps": finished.steps,
        "trained_tokens": finished.trained_tokens,
        "final_loss": finished.final_loss,
        "validation_loss": finished.validation_loss,
        "library_versions": dict(finished.library_versions),
        "compute": dict(finished.compute),
        "force": claim.job.force,
        "hopeless": [finding.code for finding in trained.hopeless],
        "report": finished.report.to_json(),
    }
