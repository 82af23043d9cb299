"""A base opened once: what is fingerprinted is what is loaded."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from services.common.errors import DomainError, Reason
from services.common.identity.base_directory import Layout, check_index, examine
from services.common.identity.cache import DigestCache
from services.common.identity.canonical import sha256_hex
from services.common.identity.completeness import check_complete
from services.common.identity.config import normalize_config
from services.common.identity.contents import content_digests
from services.common.identity.documents import Documents, read_documents
from services.common.identity.fingerprint import BaseFingerprint
from services.common.identity.modules import list_modules
from services.common.identity.processor import processor_digest
from services.common.identity.quantization import quantization_of
from services.common.identity.remote_code import code_digest
from services.common.identity.tied import without_tied_output
from services.common.identity.tokenizer import pipeline_digest, template_digest, tokenizer_digest
from services.common.identity.trees import TensorLeaf, in_order
from services.common.identity.weights import StoredTensor, WeightsFile

__all__ = ["OpenBase", "fingerprint_base", "open_base"]

DEFAULT_TEMPLATE: Final = "default"


class OpenBase:
    """A base whose files are open; a context manager that closes them."""

    def __init__(self, layout: Layout, documents: Documents, weights: tuple[WeightsFile, ...]) -> None:
        """Use ``open_base`` instead."""
        self._layout = layout
        self._documents = documents
        self._weights = weights

    @property
    def directory(self) -> Path:
        """Where it lies, absolute."""
        return self._layout.directory

    @property
    def config(self) -> dict[str, Any]:
        """config.json as it was read for the fingerprint."""
        return self._documents.config

    @property
    def generation_config(self) -> dict[str, Any] | None:
        """generation_config.json, or None."""
        return self._documents.generation_config

    @property
    def tokenizer_json(self) -> bytes | None:
        """tokenizer.json: the pipeline that trainer and inference tokenise with."""
        return self._documents.tokenizer_json

    @property
    def special_tokens(self) -> dict[str, Any]:
        """Role → token text (``eos_token`` …), and ``additional`` → texts without a role."""
        return dict(self._documents.roles)

    @property
    def chat_template(self) -> str | None:
        """The template named ``default``, or None."""
        return self._documents.templates.get(DEFAULT_TEMPLATE)

    def tensors(self) -> Iterator[StoredTensor]:
        """Every tensor of the files, to be read from the files that are open.

        Call ``check_unchanged`` when all are read.
        """
        for file in self._weights:
            yield from file.tensors()

    def check_unchanged(self) -> None:
        """Hold every weights file against what it was when opened.

        Raises:
            DomainError: BASE_FILES_INCONSISTENT where one was written since.
        """
        for file in self._weights:
            file.check_unchanged()

    def fingerprint(
        self, *, cache: DigestCache | None = None, threads: int | None = None, derived_from: str | None = None
    ) -> BaseFingerprint:
        """Compute the complete fingerprint from the open files.

        Args:
            cache: answers for files hashed before.
            threads: hashing at the same time; by default one per processor.
            derived_from: id of the base this one is declared a derivative of.

        Raises:
            DomainError: BASE_NOT_A_MODEL, BASE_FILES_INCONSISTENT, SAFETENSORS_INVALID, FINGERPRINT_INVALID.
        """
        documents, config = self._documents, normalize_config(self._documents.config)
        stored = self._leaves(content_digests(self._weights, cache=cache, threads=threads))
        leaves = in_order(without_tied_output(documents.config, stored))
        quantization = quantization_of(documents.config, (leaf.dtype for leaf in stored))
        bits = quantization.get("bits") if quantization else None
        self.check_unchanged()
        return BaseFingerprint.of(
            architecture=documents.architecture,
            config=config,
            tensors=leaves,
            modules=list_modules(config, leaves, bits if isinstance(bits, int) else None),
            code_digest=code_digest(self.directory, documents.auto_maps),
            tokenizer_digest=self._tokenizer_digest(cache),
            chat_template_digest=template_digest(documents.templates),
            processor_digest=processor_digest(documents.config, documents.processor),
            quantization=quantization,
        ).derived(derived_from)

    def _leaves(self, digests: dict[str, str]) -> tuple[TensorLeaf, ...]:
        return tuple(
            TensorLeaf(entry.name, entry.dtype, entry.shape, digests[entry.name])
            for file in self._weights
            for entry in file.entries
        )

    def _tokenizer_digest(self, cache: DigestCache | None) -> str | None:
        """A large vocabulary takes about a second to bring into canonical form, so that is remembered too."""
        data = self.tokenizer_json
        if data is None:
            return None
        content = sha256_hex(data)
        known = cache.get_document(content) if cache else None
        if known is None:
            known = pipeline_digest(data)
            if cache:
                cache.put_document(content, known)
        return tokenizer_digest(known, self._documents.roles)

    def close(self) -> None:
        """Close the files; tensors handed out cannot be read any more."""
        for file in self._weights:
            file.close()

    def __enter__(self) -> Self:
        """Answer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the files."""
        self.close()


def open_base(directory: Path) -> OpenBase:
    """Open a base and check what can be told from its documents and headers.

    Raises:
        DomainError: BASE_NOT_A_MODEL, BASE_UNSAFE_FILES, BASE_FILES_INCONSISTENT, SAFETENSORS_INVALID, LIMIT_EXCEEDED.
    """
    layout = examine(directory)
    documents = read_documents(layout)
    with ExitStack() as opened:
        weights = tuple(_open_weights(layout, opened))
        names = [entry.name for file in weights for entry in file.entries]
        if not names:
            raise DomainError(Reason.BASE_NOT_A_MODEL, f"{layout.directory} holds no tensor. Download the base again.")
        check_complete(documents.config, names)
        opened.pop_all()
    return OpenBase(layout, documents, weights)


def _open_weights(layout: Layout, opened: ExitStack) -> Iterator[WeightsFile]:
    for name in layout.shards:
        file = WeightsFile(layout.directory / name)
        opened.callback(file.close)
        if layout.weight_map is not None:
            check_index(layout.weight_map, name, (entry.name for entry in file.entries))
        yield file


def fingerprint_base(
    directory: Path,
    *,
    cache: DigestCache | None = None,
    threads: int | None = None,
    derived_from: str | None = None,
) -> BaseFingerprint:
    """The complete fingerprint of the base in a directory.

    Args:
        directory: a model in Hugging Face layout.
        cache: answers for files hashed before.
        threads: hashing at the same time; by default one per processor.
        derived_from: id of the base this one is declared a derivative of.

    Raises:
        DomainError: BASE_NOT_A_MODEL, BASE_UNSAFE_FILES, BASE_FILES_INCONSISTENT, SAFETENSORS_INVALID, LIMIT_EXCEEDED.
    """
    with open_base(directory) as base:
        return base.fingerprint(cache=cache, threads=threads, derived_from=derived_from)
