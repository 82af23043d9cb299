"""A manifest for an adapter that was trained elsewhere: somebody declares its base, and everything else is checked."""

from pathlib import Path

from services.common.admission.config import summarize
from services.common.admission.directory import CHAT_TEMPLATE_FILE, read_file
from services.common.admission.examination import Examination
from services.common.errors import DomainError, Reason
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
        A manifest of provenance ``declared``: conversations are rendered with chat_template.jinja where the directory
        has one and with the base's own template where not, and nothing is known of the training.

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
            chat_template=_chat_template(directory),
            stop_token_ids=(),
            training={},
        )
    return AdapterManifest.from_bytes(manifest.to_bytes())


def _chat_template(directory: Path) -> str | None:
    data = read_file(directory, CHAT_TEMPLATE_FILE) or b""
    try:
        # An empty one is none: it would render every conversation to nothing.
        return data.decode() or None
    except UnicodeDecodeError:
        raise DomainError(
            Reason.ADAPTER_CONFIG_INVALID,
            f"{CHAT_TEMPLATE_FILE} is not UTF-8 text. Restore it, or remove it to use the base's own template.",
        ) from None
