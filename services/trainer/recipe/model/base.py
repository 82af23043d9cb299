"""The base of a run: opened once, recognised by its bytes, then loaded from the same open files."""

from dataclasses import dataclass

from services.common.bases.loader import LoadedBase, load_base
from services.common.errors import DomainError, Reason
from services.common.identity import BaseFingerprint, DigestCache, open_base
from services.trainer.recipe.protocol import RecipeTask
from services.trainer.recipe.training.compute import Compute, choose_compute


@dataclass(frozen=True, slots=True)
class RecognisedBase:
    """A loaded base, the fingerprint of the bytes it was loaded from, and what it computes on."""

    loaded: LoadedBase
    fingerprint: BaseFingerprint
    compute: Compute


def load_recognised(task: RecipeTask) -> RecognisedBase:
    """Load the task's base.

    Raises:
        DomainError: BASE_FINGERPRINT_MISMATCH; the files are not those of the task. Or why they cannot be loaded.
    """
    cache = DigestCache(task.cache_dir) if task.cache_dir else None
    with open_base(task.base_directory) as opened:
        fingerprint = opened.fingerprint(cache=cache, threads=task.threads)
        if fingerprint.id != task.base_fingerprint_id:
            raise _mismatch(task, fingerprint)
        compute = choose_compute(task.threads, fingerprint.parameter_count)
        loaded = load_base(opened, dtype=compute.dtype, device=compute.device)
        return RecognisedBase(loaded, fingerprint, compute)


def _mismatch(task: RecipeTask, found: BaseFingerprint) -> DomainError:
    return DomainError(
        Reason.BASE_FINGERPRINT_MISMATCH,
        f"The files of {task.base_model} are not those the job was created for: their fingerprint is "
        f"{found.id[:12]}…, expected was {task.base_fingerprint_id[:12]}…. Restore the files, or add them as a base of "
        "their own and create the job again.",
        {"expected_id": task.base_fingerprint_id, "actual_id": found.id},
    )
