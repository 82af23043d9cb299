"""Wrong pairs: manifest, signature, probe, registry or artifact store are at fault."""

import json
from dataclasses import replace
from functools import partial
from typing import Any, Final

from services.common.errors import Reason
from services.common.identity import Verdict
from services.common.manifest import Provenance
from services.common.probe import Probe
from services.common.signing import Envelope
from tests.contract.inference.samples import PROBE
from tests.matrix.keys import LEAVING_KEY
from tests.matrix.pair import CONFIG, ENVELOPE, MANIFEST, WEIGHTS, Document, Pair, Surroundings, flipped
from tests.matrix.wrong import Wrong, other_base, refused, served_alone
from tests.support.keys import STRANGERS_KEY

ZEROS: Final = "0" * 64


def sealed(edit: Any) -> Any:
    """Sealed, then altered."""

    def do(pair: Pair) -> None:
        pair.seal()
        edit(pair)

    return do


def manifest(edit: Any) -> Any:
    """The manifest changed by somebody who can sign."""
    return sealed(lambda pair: pair.manifest(edit))


def text(edit: Any) -> Any:
    """The manifest's text changed by somebody who can sign."""

    def do(pair: Pair) -> None:
        pair.bytes_of(MANIFEST, edit)
        pair.sign()

    return sealed(do)


def stated(**changes: Any) -> Any:
    return manifest(lambda document: document | changes)


def file(name: str, **changes: Any) -> Any:
    def edit(document: Document) -> Document:
        files = [entry | changes if entry["path"] == name else entry for entry in document["files"]]
        return document | {"files": files}

    return manifest(edit)


def envelope(edit: Any) -> Any:
    return sealed(lambda pair: pair.bytes_of(ENVELOPE, edit))


def without(name: str) -> Any:
    return sealed(lambda pair: (pair.adapter / name).unlink())


def bit_of_signature(data: bytes) -> bytes:
    opened = Envelope.from_bytes(data)
    signatures = {key_id: flipped(signature, 7) for key_id, signature in opened.signatures.items()}
    return Envelope(opened.payload, signatures).to_bytes()


def other_payload(data: bytes) -> bytes:
    opened = Envelope.from_bytes(data)
    return Envelope(opened.payload.replace(b'"declared"', b'"witnessed"'), opened.signatures).to_bytes()


def forged_provenance(pair: Pair) -> None:
    pair.seal()
    signature = (pair.adapter / ENVELOPE).read_bytes()
    pair.manifest(lambda document: document | {"provenance": "witnessed"})
    (pair.adapter / ENVELOPE).write_bytes(signature)


def of_another_base(pair: Pair) -> None:
    """Sealed for a base that the adapter was not trained on, and brought to the one that it was."""
    pair.seal(base=pair.samples.fingerprint(pair.samples.base(pair.architecture, seed=7)).summary())


def forged_id(document: Document) -> Document:
    return document | {"base": document["base"] | {"id": ZEROS}}


def probe(edit: Any) -> Any:
    """Witnessed, with another probe than training recorded."""

    def do(pair: Pair) -> None:
        recorded = Probe.from_json(json.loads((pair.source / PROBE).read_text()))
        pair.witness(probe=edit(recorded))

    return do


def louder(pair: Pair) -> None:
    """lora_alpha times ten, sealed as if it had been trained so."""
    pair.config(lora_alpha=160)
    pair.witness()


def louder_values(pair: Pair) -> None:
    pair.tensors(lambda found: {name: tensor * 1.5 for name, tensor in found.items()})
    pair.witness()


def setting(**changes: Any) -> Any:
    """Nothing is wrong with the files."""

    def do(pair: Pair) -> None:
        pair.seal()
        pair.around = Surroundings(**changes)

    return do


def without_probe(pair: Pair) -> None:
    pair.seal(provenance=Provenance.WITNESSED)


def leaving(pair: Pair) -> None:
    pair.seal(LEAVING_KEY)
    pair.around = Surroundings(afterwards="withdraw")


def derived(seal: Any) -> Any:
    """Brought to a base of other weights that somebody declared a derivative of its own."""

    def do(pair: Pair) -> None:
        seal(pair)
        pair.other_base(seed=7)
        pair.around = Surroundings(derivatives=True)

    return do


def two_headers(pair: Pair) -> None:
    """A manifest that leaves the header's digest out, and a store that shows one with two layers exchanged."""
    pair.seal(files=(pair.listed(CONFIG), replace(pair.listed(WEIGHTS), header_sha256=None)))
    data = (pair.adapter / WEIGHTS).read_bytes()
    shown = (
        data.replace(b"layers.0.", b"layers.x.").replace(b"layers.1.", b"layers.0.").replace(b"layers.x.", b"layers.1.")
    )
    pair.around = Surroundings(head=shown)


INVALID, CORRUPT, MISSING = Reason.MANIFEST_INVALID, Reason.ARTIFACT_CORRUPT, Reason.ADAPTER_FILES_MISSING
BAD_SIGNATURE, PROBED = Reason.SIGNATURE_INVALID, Reason.PROBE_MISMATCH

paper, alone = partial(refused, peft=False), partial(served_alone, peft=False)
"""Of papers PEFT knows nothing, so it is not asked."""

WRONG_PAPERS: Final[tuple[Wrong, ...]] = (
    paper("no manifest", "llama", without(MANIFEST), "manifest", Reason.MANIFEST_MISSING, served=None),
    paper("manifest with spaces", "llama", text(lambda data: data.replace(b",", b", ", 1)), "manifest", INVALID),
    paper(
        "manifest with a key twice",
        "gpt2",
        text(lambda data: data.replace(b"{", b'{"base":{},', 1)),
        "manifest",
        INVALID,
    ),
    paper("manifest of an unknown scheme", "qwen2", stated(scheme="tenon.adapter/9"), "manifest", INVALID),
    paper("manifest with an unknown key", "phi3", stated(surprise=1), "manifest", INVALID),
    paper("manifest with a base id that does not follow", "gpt_neox", manifest(forged_id), "manifest", INVALID),
    paper(
        "manifest that lists a path elsewhere",
        "llama",
        file(WEIGHTS, path="../elsewhere.safetensors"),
        "manifest",
        INVALID,
    ),
    paper(
        "manifest that does not list the weights",
        "gpt2",
        manifest(lambda document: document | {"files": [f for f in document["files"] if f["path"] == CONFIG]}),
        "config",
        MISSING,
    ),
    paper("manifest with another digest of the weights", "qwen2", file(WEIGHTS, sha256=ZEROS), "digest", CORRUPT),
    paper("manifest with another digest of the header", "llama", file(WEIGHTS, header_sha256=ZEROS), "header", CORRUPT),
    paper("manifest with another size of the weights", "phi3", file(WEIGHTS, size=1 << 20), "header", CORRUPT),
    paper(
        "manifest with another digest of the configuration", "gpt_neox", file(CONFIG, sha256=ZEROS), "config", CORRUPT
    ),
    paper(
        "manifest that states another rank", "llama", stated(peft={"r": 64}), "config", Reason.ADAPTER_CONFIG_MISMATCH
    ),
    other_base(
        "manifest of another base of the same shapes", "qwen2", of_another_base, Verdict.WEIGHTS_DIFFER, peft=False
    ),
    paper("provenance forged", "llama", forged_provenance, "signature", BAD_SIGNATURE),
    paper("no signature", "llama", without(ENVELOPE), "signature", Reason.SIGNATURE_MISSING),
    paper(
        "signature by a stranger's key",
        "gpt2",
        lambda pair: pair.seal(STRANGERS_KEY),
        "signature",
        Reason.SIGNATURE_UNTRUSTED,
    ),
    paper("one bit of the signature flipped", "qwen2", envelope(bit_of_signature), "signature", BAD_SIGNATURE),
    paper("signature of another manifest", "phi3", envelope(other_payload), "signature", BAD_SIGNATURE),
    paper("signature that is no envelope", "gpt_neox", envelope(lambda _: b"{}"), "signature", BAD_SIGNATURE),
    paper("key withdrawn after the adapter had answered", "llama", leaving, "signature", Reason.SIGNATURE_UNTRUSTED),
    alone(
        "version revoked after the adapter had answered",
        "gpt2",
        setting(afterwards="revoke"),
        Reason.ADAPTER_VERSION_REVOKED,
    ),
    alone("version that is not ready", "qwen2", setting(ready=False), Reason.ADAPTER_VERSION_NOT_READY),
    alone(
        "declared, where only witnessed adapters are served",
        "llama",
        setting(admit=Provenance.WITNESSED),
        Reason.PROVENANCE_NOT_ADMITTED,
    ),
    paper("witnessed, and without a probe", "gpt2", without_probe, "probe", PROBED),
    served_alone("alpha times ten, sealed so", "llama", louder, PROBED),
    served_alone("every tensor half as large again, sealed so", "gpt_neox", louder_values, PROBED),
    alone(
        "probe of another base",
        "qwen2",
        probe(lambda it: replace(it, base_logits=tuple(x + 1 for x in it.base_logits))),
        PROBED,
    ),
    alone("probe of another adapter", "phi3", probe(lambda it: replace(it, adapter_logits=it.base_logits)), PROBED),
    alone(
        "probe with tokens that the base does not have",
        "llama",
        probe(lambda it: replace(it, prompt_token_ids=(5000,))),
        PROBED,
    ),
    alone("manifest in the registry that is not the version's", "llama", setting(misnamed=True), CORRUPT),
    alone("weights lost in the artifact store", "gpt2", setting(lost=WEIGHTS), MISSING),
    alone("configuration lost in the artifact store", "phi3", setting(lost=CONFIG), MISSING),
    alone("weights in the store are another adapter's", "qwen2", setting(exchanged=True), CORRUPT),
    alone("artifact store that gives two headers", "llama", two_headers, CORRUPT),
    Wrong(
        "base declared derived, and not: the probe tells",
        "llama",
        derived(Pair.witness),
        "base",
        Reason.BASE_FINGERPRINT_MISMATCH,
        PROBED,
        Verdict.WEIGHTS_DIFFER,
    ),
    Wrong(
        "base declared derived, and the adapter without a probe",
        "gpt2",
        derived(Pair.seal),
        "base",
        Reason.BASE_FINGERPRINT_MISMATCH,
        PROBED,
        Verdict.WEIGHTS_DIFFER,
        peft=False,
    ),
)
