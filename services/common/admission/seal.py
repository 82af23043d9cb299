"""A manifest for an adapter that was trained elsewhere: somebody declares its base, and everything else is checked."""

from pathlib import Path

from services.common.admission.config import summarize
from services.common.admission.examination import Examination
from services.common.identity import BaseFingerprint
from services.common.manifest import AdapterManifest, Provenance

__all__ = ["make_declared"]


def make_declared(directory: Path, fingerprint: BaseFingerprint, base_model: str) -> AdapterManifest:
    """Check all that can be checked without a manifest, and make one; the same directory gives the same bytes.

    Args:
        directory: of the adapter, as PEFT saved it; a manifest that lies there is not looked at.
        fingerprint: of the base that somebody declares it was trained on.
        base_model: that base's resource name, ``baseModels/…``.

    Returns:
        A manifest of provenance ``declared``: conversations are rendered with the base's own template, and nothing is
        known of the training.

    Raises:
        DomainError: whatever speaks against the adapter; MANIFEST_INVALID where ``base_model`` is no such name.
    """
    with Examination(directory, fingerprint) as examination:
        examination.files()
        examination.load_base()
        for step in (
            examination.config,
            examination.header,
            examination.tensors,
            examination.values,
            examination.effect,
        ):
            step()
        manifest = AdapterManifest(
            files=examination.describe(),
            base_model=base_model,
            base=fingerprint.summary(),
            provenance=Provenance.DECLARED,
            peft=summarize(examination.document),
            chat_template=None,
            stop_token_ids=(),
            training={},
        )
    return AdapterManifest.from_bytes(manifest.to_bytes())
