"""An adapter and a base that are brought together: as they were made, and what is done to them."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import rfc8785
import torch
from safetensors.torch import load_file, save_file

from services.common.identity import BaseFingerprint
from services.common.manifest import ManifestFile, Provenance
from services.common.signing import SigningKey, sign
from tests.contract.inference.samples import file_of, manifest_of
from tests.matrix.samples import Samples
from tests.support.keys import TEST_KEY

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
MANIFEST: Final = "tenon.manifest.json"
ENVELOPE: Final = "tenon.manifest.dsse.json"
BASE_CONFIG: Final = "config.json"
BASE_WEIGHTS: Final = "model.safetensors"
TOKENIZER: Final = "tokenizer.json"
TOKENIZER_CONFIG: Final = "tokenizer_config.json"

Tensors = dict[str, torch.Tensor]
Document = dict[str, Any]


@dataclass(frozen=True)
class Surroundings:
    """What registry, artifact store and server do; by default all is well.

    Attributes:
        admit: the provenance that the server asks for.
        derivatives: whether the server lets an adapter answer on a base derived from its own.
        ready: whether the registry holds the version for complete.
        misnamed: whether the registry gives the manifest under another version's name.
        lost: a file that the artifact store does not have any more, or empty.
        exchanged: whether the store has another adapter's weights in the place of this one's.
        head: a file whose bytes the store answers where only a range of the weights is read, or None.
        afterwards: what happens when the adapter has answered once (``revoke``, ``withdraw``), or empty.
    """

    admit: Provenance = Provenance.DECLARED
    derivatives: bool = False
    ready: bool = True
    misnamed: bool = False
    lost: str = ""
    exchanged: bool = False
    head: bytes | None = None
    afterwards: str = ""


class Pair:
    """An adapter's directory, which is this pair's own, and the base it shall answer on.

    Attributes:
        base: where the adapter shall answer.
        adapter: its directory.
        around: what the rest of the platform does.
        sealed: whether its papers are made.
    """

    def __init__(
        self, home: Path, samples: Samples, architecture: str, *, on: Mapping[str, Any], **settings: Any
    ) -> None:
        """Take the samples of an architecture.

        Args:
            home: a directory for this pair alone.
            samples: where bases and adapters come from.
            architecture: key of ``tiny_bases.ARCHITECTURES``.
            on: options of the base that the adapter is made on.
            settings: of PEFT's LoraConfig.
        """
        self.samples = samples
        self.home = home
        self.architecture = architecture
        self.original = samples.base(architecture, **on)
        self.base = self.original
        self.source = samples.adapter(architecture, self.original, **settings)
        self.adapter = shutil.copytree(self.source, home / "adapter")
        self.around = Surroundings()
        self.sealed = False

    @property
    def trained_on(self) -> BaseFingerprint:
        """The fingerprint of the base that the adapter was trained on."""
        return self.samples.fingerprint(self.original)

    @property
    def base_model(self) -> str:
        """The name of that base."""
        return f"baseModels/{self.original.name}"

    # The base.

    def other_base(self, architecture: str = "", **options: Any) -> None:
        """Take another base."""
        self.base = self.samples.base(architecture or self.architecture, **options)

    def own_base(self) -> Path:
        """A copy of the base, for this pair alone."""
        if self.base == self.original:
            self.base = shutil.copytree(self.original, self.home / "base")
        return self.base

    def base_config(self, **changes: Any) -> None:
        """Change keys of config.json; those set to ``...`` are removed."""
        edit_json(self.own_base() / BASE_CONFIG, lambda document: merge(document, changes))

    def base_tensors(self, edit: Callable[[Tensors], Tensors]) -> None:
        edit_tensors(self.own_base() / BASE_WEIGHTS, edit)

    def base_tokenizer(self, edit: Callable[[Document], Document]) -> None:
        edit_json(self.own_base() / TOKENIZER, edit)

    def base_roles(self, **changes: Any) -> None:
        edit_json(self.own_base() / TOKENIZER_CONFIG, lambda document: merge(document, changes))

    # The adapter.

    def tensors(self, edit: Callable[[Tensors], Tensors]) -> None:
        edit_tensors(self.adapter / WEIGHTS, edit)

    def config(self, **changes: Any) -> None:
        edit_json(self.adapter / CONFIG, lambda document: merge(document, changes))

    def bytes_of(self, name: str, edit: Callable[[bytes], bytes]) -> None:
        path = self.adapter / name
        path.write_bytes(edit(path.read_bytes()))

    # Its papers.

    def listed(self, name: str) -> ManifestFile:
        """A file of the adapter as a manifest lists it."""
        return file_of(self.adapter / name)

    def seal(self, *keys: SigningKey, **changes: Any) -> None:
        """Write manifest and signature for the files as they are now, whatever they are, as declared."""
        self.witness(*keys, **{"provenance": Provenance.DECLARED, "probe": None} | changes)

    def witness(self, *keys: SigningKey, **changes: Any) -> None:
        """Seal as the trainer does, with a probe of the adapter as PEFT saved it."""
        stated: dict[str, Any] = {
            "peft": {"peft_type": "LORA"},
            "stop_token_ids": (),
            # So that no two pairs are the same version.
            "training": {"pair": self.home.name, "compute": {"dtype": "float32"}},
            **({} if "files" in changes else {"files": tuple(map(self.listed, (CONFIG, WEIGHTS)))}),
        }
        manifest = manifest_of(self.source, self.base_model, self.trained_on, **stated | changes)
        (self.adapter / MANIFEST).write_bytes(manifest.to_bytes())
        self.sign(*keys)
        self.sealed = True

    def manifest(self, edit: Callable[[Document], Document]) -> None:
        """Change the manifest and sign it again."""
        document = json.loads((self.adapter / MANIFEST).read_bytes())
        (self.adapter / MANIFEST).write_bytes(rfc8785.dumps(edit(document)))
        self.sign()

    def sign(self, *keys: SigningKey) -> None:
        """Sign the manifest as it is."""
        signed = sign((self.adapter / MANIFEST).read_bytes(), *(keys or [TEST_KEY]))
        (self.adapter / ENVELOPE).write_bytes(signed.to_bytes())


def edit_json(path: Path, edit: Callable[[Document], Document]) -> None:
    path.write_text(json.dumps(edit(json.loads(path.read_bytes())), ensure_ascii=False), encoding="utf-8")


def merge(document: Document, changes: Mapping[str, Any]) -> Document:
    return {key: value for key, value in {**document, **changes}.items() if value is not ...}


def edit_tensors(path: Path, edit: Callable[[Tensors], Tensors]) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in edit(load_file(path)).items()}
    save_file(tensors, path, {"format": "pt"})


def flipped(data: bytes, position: int) -> bytes:
    """One bit of it changed; negative positions count from the end."""
    position %= len(data)
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def changed(tensors: Tensors, ending: str, edit: Callable[[torch.Tensor], torch.Tensor]) -> Tensors:
    """The first tensor with this ending changed."""
    name = next(name for name in sorted(tensors) if name.endswith(ending))
    return {**tensors, name: edit(tensors[name])}


def every(tensors: Tensors, part: str, edit: Callable[[torch.Tensor], torch.Tensor]) -> Tensors:
    """Every tensor with this part in its name changed."""
    return {name: edit(tensor) if part in name else tensor for name, tensor in tensors.items()}


def without(tensors: Tensors, *parts: str) -> Tensors:
    """Those that have none of these parts in their names."""
    return {name: tensor for name, tensor in tensors.items() if not any(part in name for part in parts)}


def copies(tensors: Tensors, old: str, new: Sequence[str]) -> Tensors:
    """With copies of the tensors that have ``old`` in their names, under names that have each of ``new`` instead."""
    more = {
        name.replace(old, other): tensor.clone() for other in new for name, tensor in tensors.items() if old in name
    }
    return tensors | more
